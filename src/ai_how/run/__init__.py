"""The only doors out: processes (`process`) and HTTP (`http`). Never decides anything."""
