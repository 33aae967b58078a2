"""Turn a checkpoint's ``tokenizer.json`` into GGUF's vocabulary.

Owns which tokenizers llama.cpp reproduces token for token. Anything else is refused by name: wrong tokens give a
model that answers, but nonsense. Special tokens, merges and the chat template are read by ``gguf.SpecialVocab``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_how.errors import SpecError

if TYPE_CHECKING:
    import gguf

_SPLIT_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLIT_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
# (pattern of the Split pre-tokenizer, model.ignore_merges) -> llama.cpp's name of the pre-tokenizer. Each gave the
# same ids for thousands of random strings of all scripts; Mistral's tekken did not, so it is not here.
_SPLITS: Mapping[tuple[str, bool], str] = {
    (_SPLIT_WORDS + r"\p{N}{1,3}" + _SPLIT_TAIL, True): "llama-bpe",
    (_SPLIT_WORDS + r"\p{N}{1,3}" + _SPLIT_TAIL, False): "smaug-bpe",
    (_SPLIT_WORDS + r"\p{N}" + _SPLIT_TAIL, False): "qwen2",
}
_SPACE = "\u2581"


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """GGUF's arrays, one entry a token id: text, type (``gguf.TokenType``) and, for SentencePiece, score.

    ``model`` is GGUF's kind of tokenizer: gpt2 is byte-level BPE, llama is SentencePiece.
    """

    model: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...] = ()
    pre_tokenizer: str = "default"
    add_space_prefix: bool = False


def load_vocabulary(folder: Path, size: int) -> Vocabulary:
    """Read ``tokenizer.json`` and say how llama.cpp reproduces it; ``size`` is the number of embeddings.

    Raises:
        SpecError: the file is missing or damaged, or describes a tokenizer that llama.cpp has not.
    """
    file = folder / "tokenizer.json"
    try:
        tokenizer = json.loads(file.read_bytes())
        return _vocabulary(tokenizer, size)
    except FileNotFoundError as error:
        raise SpecError(
            "the checkpoint has no tokenizer.json",
            evidence=f"looked in {folder}; tokenizer.model alone cannot be converted",
            next_step="write it with Transformers: AutoTokenizer.from_pretrained(d).save_pretrained(d)",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"{file.name} is damaged", evidence=repr(error)) from error


def write_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary, folder: Path, config: Mapping[str, Any]) -> None:
    """Add tokens, merges, special tokens and the chat template of ``folder`` to the metadata."""
    import gguf

    # it warns of templates for pairs of texts, which a chat never uses
    logging.getLogger("gguf.vocab").setLevel(logging.ERROR)
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre_tokenizer)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.scores:
        writer.add_token_scores(list(vocabulary.scores))
    writer.add_add_space_prefix(vocabulary.add_space_prefix)
    special = gguf.SpecialVocab(folder, load_merges=vocabulary.model == "gpt2", n_vocab=len(vocabulary.tokens))
    _add_missing_ids(special.special_token_ids, folder, config)
    # llama.cpp adds a begin token to some kinds of vocabulary unless it is told not to
    special.add_special_token = {"bos": False, "eos": False} | special.add_special_token
    special.add_to_gguf(writer, quiet=True)


def _add_missing_ids(ids: dict[str, int], folder: Path, config: Mapping[str, Any]) -> None:
    """Ids that only ``config.json`` names, and a second end token of ``generation_config.json``."""
    for kind in ("bos", "eos", "pad"):
        value = config.get(f"{kind}_token_id")
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, int):
            ids.setdefault(kind, first)
    file = folder / "generation_config.json"
    ends = json.loads(file.read_bytes()).get("eos_token_id") if file.is_file() else None
    others = [end for end in ends if end != ids.get("eos")] if isinstance(ends, list) else []
    if others:
        ids.setdefault("eot", others[0])


def _vocabulary(tokenizer: dict[str, Any], size: int) -> Vocabulary:
    model = tokenizer["model"]
    if model.get("type", "BPE") != "BPE":
        raise _refused(f"model of type {model['type']}")
    if model.get("dropout") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise _refused("BPE with dropout, a prefix or a suffix")
    if model.get("byte_fallback"):
        return _sentence_piece(tokenizer, size)
    pre_tokenizer = pre_tokenizer_name(tokenizer)
    tokens, types = _tokens(tokenizer, size)
    return Vocabulary(model="gpt2", tokens=tokens, types=types, pre_tokenizer=pre_tokenizer)


def pre_tokenizer_name(tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a byte-level tokenizer cuts text into words.

    Raises:
        SpecError: it cuts in a way that llama.cpp does not know.
    """
    normalizer = tokenizer.get("normalizer")
    # llama.cpp normalizes nothing; text that is composed already (NFC), as nearly all is, comes out the same
    if normalizer and normalizer["type"] != "NFC":
        raise _refused(f"normalizer {normalizer['type']}")
    steps = _steps(tokenizer.get("pre_tokenizer"), "pretokenizers")
    ignore_merges = bool(tokenizer["model"].get("ignore_merges"))
    match [step["type"] for step in steps]:
        case ["ByteLevel"] if steps[0].get("use_regex", True) and not ignore_merges:
            name = "gpt-2"
        case ["Digits", "ByteLevel"] if (
            steps[0].get("individual_digits") and steps[1].get("use_regex", True) and not ignore_merges
        ):
            name = "smollm"
        case ["Split", "ByteLevel"] if not steps[1].get("use_regex", True):
            name = _split_name(steps[0], ignore_merges=ignore_merges)
        case kinds:
            raise _refused(f"pre-tokenizer {', '.join(kinds) or 'none'}")
    if steps[-1].get("add_prefix_space"):
        raise _refused("a space is put before the text")
    return name


def _split_name(step: Mapping[str, Any], *, ignore_merges: bool) -> str:
    pattern = step["pattern"].get("Regex")
    name = _SPLITS.get((pattern, ignore_merges))
    # a pattern of whole words gives the same cuts whether its matches are isolated or kept by inversion
    isolated = (step["behavior"], step.get("invert", False)) in (("Isolated", False), ("Removed", True))
    if name is None or not isolated:
        raise _refused(f"splits text by {pattern}")
    return name


def _sentence_piece(tokenizer: dict[str, Any], size: int) -> Vocabulary:
    """SentencePiece merges by the score of the result, so a merge's rank becomes the score of what it makes."""
    prefix = _space_prefix(tokenizer)
    tokens, types = _tokens(tokenizer, size, byte_fallback=True)
    normal = [token for token, kind in zip(tokens, types, strict=True) if kind == 1]
    ranks = _ranks(tokenizer["model"], normal)
    # what no merge makes is met only as a single letter, which needs no score
    scores = tuple(-float(ranks.get(token, 0)) for token in tokens)
    return Vocabulary(model="llama", tokens=tokens, types=types, scores=scores, add_space_prefix=prefix)


def _space_prefix(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a space is put before the text: Llama's two ways of writing it down."""
    normalizers = _steps(tokenizer.get("normalizer"), "normalizers")
    steps = _steps(tokenizer.get("pre_tokenizer"), "pretokenizers")
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    prepend = {"type": "Prepend", "prepend": _SPACE}
    if not steps and normalizers in ([prepend, replace], [replace]):
        return bool(normalizers[0] == prepend)
    never = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "never", "split": False}
    if not normalizers and steps == [never]:
        return False
    # Metaspace's "first" and "always" put no space before a text that begins with one, or after a special token
    raise _refused("a SentencePiece tokenizer that puts spaces before words in another way than llama.cpp")


def _ranks(model: Mapping[str, Any], normal: Sequence[str]) -> dict[str, int]:
    """Rank of the merge that makes each token, once it is sure that ranks say the same as scores.

    They do when every way to cut a token in two known ones is a merge, and all merges into one token stand together.
    """
    vocabulary: Mapping[str, int] = model["vocab"]
    ranks: dict[str, int] = {}
    pairs: set[tuple[str, str]] = set()
    last = ""
    for rank, merge in enumerate(model["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        made = left + right
        if made not in vocabulary or (made in ranks and made != last):
            raise _refused("merges that no SentencePiece model has")
        ranks.setdefault(made, rank)
        pairs.add((left, right))
        last = made
    for token in normal:
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in vocabulary and right in vocabulary and (left, right) not in pairs:
                raise _refused("merges that no SentencePiece model has")
    return ranks


def _tokens(
    tokenizer: Mapping[str, Any], size: int, *, byte_fallback: bool = False
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Text and type of each id; ids without a token are filled, since GGUF has no gaps."""
    import gguf

    kinds = gguf.TokenType
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = [int(kinds.UNUSED)] * size
    unknown = tokenizer["model"].get("unk_token")
    for text, token_id in tokenizer["model"]["vocab"].items():
        _require_room(token_id, size)
        is_byte = byte_fallback and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
        kind = kinds.BYTE if is_byte else kinds.UNKNOWN if text == unknown else kinds.NORMAL
        tokens[token_id], types[token_id] = text, int(kind)
    for added in tokenizer.get("added_tokens", ()):
        text, token_id = added["content"], added["id"]
        _require_room(token_id, size)
        if added.get("lstrip") or added.get("rstrip") or added.get("single_word"):
            raise _refused(f"token {text!r} swallows the spaces around it or stands alone only")
        if text == unknown and byte_fallback:
            continue
        kind = kinds.CONTROL if added.get("special") else kinds.USER_DEFINED
        tokens[token_id], types[token_id] = text, int(kind)
    return tuple(tokens), tuple(types)


def _require_room(token_id: int, size: int) -> None:
    if not 0 <= token_id < size:
        raise SpecError(
            "the tokenizer has more tokens than the model has embeddings",
            evidence=f"token id {token_id}, {size} embeddings",
            next_step="save tokenizer and model together, after resize_token_embeddings",
        )


def _steps(part: Mapping[str, Any] | None, key: str) -> Sequence[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, whether it is one or a sequence of them."""
    if part is None:
        return []
    return list(part[key]) if part["type"] == "Sequence" else [dict(part)]


def _refused(reason: str) -> SpecError:
    return SpecError(
        "llama.cpp has no tokenizer like this checkpoint's",
        evidence=f"tokenizer.json: {reason}",
        next_step="serve it with vLLM on a GPU (serving.engine: vllm), or push a GGUF file of it",
    )
