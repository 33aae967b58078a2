"""A model of about 100,000 random weights that really serves: as a GGUF file, a checkpoint, and a LoRA adapter for it.

It is made on the spot, bit for bit the same each time (numpy's ``RandomState`` never changes its stream), so that
``tests/reference`` can hold what Transformers computes from it. It answers nonsense, quickly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FEED_FORWARD = 64, 2, 4, 2, 16, 128
VOCABULARY, CONTEXT_TOKENS = 640, 2048
RANK, ALPHA = 4, 32

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_WORDS = (
    " the quick brown fox jumps over lazy dog and then what is your name hello world def return self import print "
    "number 12 34 123 in to of a for with that model tokens user assistant Hello don't we'll \u00fcber \u6f22\u5b57"
)
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TOKENIZERS = ("llama-bpe", "smaug-bpe", "qwen2", "gpt-2", "smollm", "sentencepiece")


def write_tiny_gguf(path: Path) -> Path:
    """Write the tiny Llama as one GGUF file; returns ``path``."""
    import tempfile

    from ai_how.endpoints.engines.hf_to_gguf import convert

    with tempfile.TemporaryDirectory() as folder:
        convert(write_tiny_checkpoint(Path(folder) / "hf"), path, say=lambda _: None)
    path.with_suffix(".lock").unlink()
    return path


def write_tiny_checkpoint(
    folder: Path,
    *,
    architecture: str = "LlamaForCausalLM",
    dtype: str = "F16",
    tokenizer: str = "llama-bpe",
    seed: int = 1,
    **settings: Any,
) -> Path:
    """Write a checkpoint folder as ``save_pretrained`` would; returns ``folder``.

    Args:
        dtype: F32, F16 or BF16.
        tokenizer: One of ``TOKENIZERS``.
        settings: Keys of ``config.json`` that differ from the plain ones, such as ``tie_word_embeddings=True``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(architecture, dtype) | settings
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    write_tokenizer(folder, tokenizer)
    random = np.random.RandomState(seed)
    tensors = {name: _round(_weights(random, name, shape), dtype) for name, shape in tensor_shapes(config).items()}
    write_safetensors(folder / "model.safetensors", tensors, dtype)
    return folder


def write_tiny_adapter(folder: Path, *, seed: int = 2, rank: int = RANK, **settings: Any) -> Path:
    """Write a PEFT LoRA adapter for the tiny checkpoint that changes its answers; returns ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = ["q_proj", "k_proj", "v_proj", "down_proj"]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny",
        "r": rank,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": targets,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "inference_mode": True,
    } | settings
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1))
    random = np.random.RandomState(seed)
    tensors = {}
    for name, (rows, columns) in _matrices(_config("LlamaForCausalLM", "F32")).items():
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] in config["target_modules"]:
            prefix = f"base_model.model.{module}"
            tensors[f"{prefix}.lora_A.weight"] = _noise(random, (rank, columns), 0.1)
            tensors[f"{prefix}.lora_B.weight"] = _noise(random, (rows, rank), 0.1)
    write_safetensors(folder / "adapter_model.safetensors", tensors, "F32")
    return folder


def _config(architecture: str, dtype: str) -> dict[str, Any]:
    names = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    kind = architecture.removesuffix("ForCausalLM").lower()
    return {
        "architectures": [architecture],
        "model_type": kind,
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT_TOKENS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "attention_bias": False,
        "bos_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 2,
        "torch_dtype": names[dtype],
    }


def tensor_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a decoder with this ``config.json`` has."""
    hidden, head_dim = config["hidden_size"], config["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    shapes |= _matrices(config)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
        if config["model_type"] == "qwen3":
            shapes[f"{layer}.self_attn.q_norm.weight"] = (head_dim,)
            shapes[f"{layer}.self_attn.k_norm.weight"] = (head_dim,)
        if config["model_type"] == "qwen2" or config["attention_bias"]:
            parts = "qkv" if config["model_type"] == "qwen2" else "qkvo"
            for part in parts:
                name = f"{layer}.self_attn.{part}_proj"
                shapes[f"{name}.bias"] = shapes[f"{name}.weight"][:1]
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    return shapes


def _matrices(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    shapes = {}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        shapes[f"{layer}.self_attn.q_proj.weight"] = (queries, hidden)
        shapes[f"{layer}.self_attn.k_proj.weight"] = (keys, hidden)
        shapes[f"{layer}.self_attn.v_proj.weight"] = (keys, hidden)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (hidden, queries)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (wide, hidden)
        shapes[f"{layer}.mlp.up_proj.weight"] = (wide, hidden)
        shapes[f"{layer}.mlp.down_proj.weight"] = (hidden, wide)
    return shapes


def _weights(random: np.random.RandomState, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights large enough that the next token is a clear choice, so that greedy answers survive rounding."""
    if "norm" in name:
        return 1 + _noise(random, shape, 0.2)
    return _noise(random, shape, 1.0 if "embed" in name else 0.3)


def _noise(random: np.random.RandomState, shape: tuple[int, ...], scale: float) -> np.ndarray:
    return (random.standard_normal(shape) * scale).astype(np.float32)


def _round(weights: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "F16":
        return weights.astype(np.float16)
    if dtype == "BF16":
        return (weights.view(np.uint32) >> 16).astype(np.uint16)
    return weights


def write_safetensors(file: Path, tensors: dict[str, np.ndarray], dtype: str) -> None:
    """Write a safetensors file; BF16 numbers come as their 16 bits."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, tensor in tensors.items():
        end = position + tensor.nbytes
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            stream.write(np.ascontiguousarray(tensor).tobytes())


def write_tokenizer(folder: Path, kind: str = "llama-bpe") -> None:
    """Write tokenizer.json and tokenizer_config.json with a chat template."""
    tokenizer = _sentencepiece() if kind == "sentencepiece" else _byte_level(kind)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": SPECIAL[0],
                "eos_token": SPECIAL[2],
                "pad_token": SPECIAL[0],
                "chat_template": CHAT_TEMPLATE,
                "clean_up_tokenization_spaces": False,
                "model_max_length": CONTEXT_TOKENS,
            }
        )
    )


def _byte_level(kind: str) -> dict[str, Any]:
    letters = _byte_letters()
    tokens, merges = _merges(["".join(letters[b] for b in word) for word in _byte_words()])
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *letters, *tokens))}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    steps = {
        "gpt-2": [byte_level | {"use_regex": True}],
        "smollm": [
            {"type": "Digits", "individual_digits": True},
            byte_level | {"use_regex": True},
        ],
        "qwen2": [_split(_LLAMA3_SPLIT.replace("{1,3}", "")), byte_level | {"use_regex": False}],
    }.get(kind, [_split(_LLAMA3_SPLIT), byte_level | {"use_regex": False}])
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": kind == "llama-bpe",
        "vocab": vocabulary,
        # both ways of writing merges down are in use
        "merges": merges if kind == "gpt-2" else [merge.split(" ") for merge in merges],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(len(vocabulary)),
        "normalizer": {"type": "NFC"} if kind == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "post_processor": _begin() if kind == "llama-bpe" else None,
        "decoder": byte_level | {"use_regex": True},
        "model": model,
    }


def _sentencepiece() -> dict[str, Any]:
    """As a Llama 2 tokenizer is written: pieces by score, and as merges every way to cut a piece in two."""
    words = ["\u2581" + word for word in _WORDS.split()]
    singles = sorted(set("".join(words)) | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,\n"))
    inner = sorted({word[at : at + 2] for word in words for at in range(1, len(word) - 1, 2)})
    grown, _ = _merges(words)
    # some pieces from within words score best: merging from the left would then give other tokens
    pieces = [*inner, *(piece for piece in grown if piece not in inner)]
    begin = (*SPECIAL, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)))
    vocabulary = {token: i for i, token in enumerate((*begin, *pieces, *singles))}
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    unknown = _token(vocabulary["<unk>"], "<unk>", special=True)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [*_added(len(vocabulary)), unknown],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": _begin(),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def _merges(words: list[str]) -> tuple[list[str], list[str]]:
    """Grow each word from its left: every prefix becomes a token, every step a merge."""
    tokens: list[str] = []
    merges: list[str] = []
    for length in range(2, max(map(len, words)) + 1):
        for word in words:
            if len(word) >= length and word[:length] not in tokens:
                tokens.append(word[:length])
                merges.append(f"{word[: length - 1]} {word[length - 1]}")
    return tokens, merges


def _byte_words() -> list[bytes]:
    words = _WORDS.split()
    return [f" {word}".encode() for word in words] + [word.encode() for word in words] + [b"\n\n", b"    "]


def _byte_letters() -> list[str]:
    """GPT-2's printable letter for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, spare = [], 256
    for byte in range(256):
        letters.append(chr(byte) if byte in printable else chr(spare))
        spare += byte not in printable
    return letters


def _added(first_free: int) -> list[dict[str, Any]]:
    """The special tokens, and one that is not special: text that is one token wherever it stands."""
    return [
        *(_token(i, text, special=True) for i, text in enumerate(SPECIAL)),
        _token(first_free, "<tool>", special=False),
    ]


def _token(token_id: int, text: str, *, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token_id, "content": text, "special": special} | flags


def _begin() -> dict[str, Any]:
    """Put the begin token before the text, as Llama does."""
    begin = {"SpecialToken": {"id": SPECIAL[0], "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, begin, second],
        "special_tokens": {SPECIAL[0]: {"id": SPECIAL[0], "ids": [0], "tokens": [SPECIAL[0]]}},
    }


def _split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
