"""Whether a model fits: the sum, the search and the advice; nonsense gets one clear message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ai_how.accelerators.catalogue import Accelerator, find
from ai_how.capacity.architectures import FAMILIES, shape_of
from ai_how.capacity.engine_overhead import GIB, adapter_bytes, captured_graphs
from ai_how.capacity.fit_advice import advice, remarks, remedies, serve_arguments
from ai_how.capacity.gguf_shape import shape_of_gguf
from ai_how.capacity.gpu_memory import UsableGpu, usable_gpu
from ai_how.capacity.kv_cache import BLOCK_TOKENS, LlamaCppCache, VllmCache
from ai_how.capacity.model_memory import Engine, Fits, Load, ModelInMemory, judge, waterfall
from ai_how.capacity.model_shape import ModelShape
from ai_how.capacity.types import GpuCapacity
from ai_how.capacity.weight_types import (
    _GGUF_BLOCKS,
    WEIGHT_TYPES,
    declared_type,
    plain_type,
    weight_bytes,
)
from ai_how.errors import SpecError
from tests.published_memory import shapes

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 8,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
}
BF16 = WEIGHT_TYPES["bfloat16"]
# a busy machine must not fail a test
untimed = settings(deadline=None)


def gpu(usable_gib: float, *, capability: tuple[int, int] | None = (8, 6), name: str = "Card") -> UsableGpu:
    return UsableGpu(
        name=name, nominal_gib=usable_gib, usable_gib=usable_gib, source="test", compute_capability=capability
    )


def model(name: str = "Llama-3.1-8B", **changes: Any) -> ModelInMemory:
    return ModelInMemory(**{"shape": shapes()[name], "kind": BF16} | changes)


def load(**changes: Any) -> Load:
    return Load(**{"context_tokens": 8192, "sequences": 8} | changes)


small = st.builds(
    lambda layers, heads, kv, dim, width: shape_of(
        LLAMA
        | {
            "num_hidden_layers": layers,
            "num_attention_heads": heads * kv,
            "num_key_value_heads": kv,
            "head_dim": dim,
            "hidden_size": heads * kv * dim,
            "intermediate_size": width * 64,
        }
    ),
    st.integers(1, 40),
    st.integers(1, 8),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([64, 128]),
    st.integers(1, 200),
)
loads = st.builds(
    lambda context, sequences: Load(context_tokens=context, sequences=sequences),
    st.integers(1, 32768),
    st.integers(1, 512),
)


@untimed
@given(small, loads, st.integers(0, 4096), st.integers(0, 64))
def test_more_context_requests_or_layers_never_take_less(
    shape: ModelShape, asked: Load, context: int, sequences: int
) -> None:
    held, card = ModelInMemory(shape=shape, kind=BF16), gpu(80)
    base = waterfall(held, card, asked).free_bytes
    assert waterfall(held, card, replace(asked, context_tokens=asked.context_tokens + context)).free_bytes <= base
    assert waterfall(held, card, replace(asked, sequences=asked.sequences + sequences)).free_bytes <= base
    deeper = replace(shape, windows=(*shape.windows, None), weights=(*shape.weights, shape.weights[-1]))
    assert waterfall(replace(held, shape=deeper), card, asked).free_bytes <= base


@untimed
@given(small, st.sampled_from([1, 2, 4, 8]), st.sampled_from(list(WEIGHT_TYPES)))
def test_splitting_loses_no_byte(shape: ModelShape, gpus: int, kind: str) -> None:
    whole = weight_bytes(shape, WEIGHT_TYPES[kind], gpus=1)
    assert weight_bytes(shape, WEIGHT_TYPES[kind], gpus=gpus) * gpus >= whole
    assert shape.kv_numbers_per_token(gpus) * gpus >= shape.kv_numbers_per_token(1)
    stored = ModelInMemory(shape=shape, kind=WEIGHT_TYPES[kind], stored_bytes=whole + 12345)
    assert stored.weights_on_gpu(1) == whole + 12345
    assert stored.weights_on_gpu(gpus) * gpus >= whole + 12345


@untimed
@given(small, loads, st.floats(1, 200), st.sampled_from(list(Engine)))
@example(shape_of(LLAMA), Load(context_tokens=1, sequences=28), 0.8, Engine.LLAMA_CPP)
def test_what_is_found_is_the_most_that_fits(shape: ModelShape, asked: Load, gib: float, engine: Engine) -> None:
    held, card = ModelInMemory(shape=shape, kind=BF16, engine=engine), gpu(gib)
    verdict = judge(held, card, asked)
    longest, most = verdict.longest_context_tokens, verdict.most_sequences
    assert longest is not None
    assert most is not None
    step = 256 if engine is Engine.LLAMA_CPP else BLOCK_TOKENS
    if longest:
        assert waterfall(held, card, replace(asked, context_tokens=longest)).free_bytes >= 0
    if longest < shape.longest_context_tokens:
        assert waterfall(held, card, replace(asked, context_tokens=longest + step)).free_bytes < 0
    if most:
        assert waterfall(held, card, replace(asked, sequences=most)).free_bytes >= 0
    if most < 1024:
        assert waterfall(held, card, replace(asked, sequences=most + 1)).free_bytes < 0
    assert (verdict.fits is Fits.NO) == (longest < asked.context_tokens)


@untimed
@given(
    st.dictionaries(
        st.sampled_from([*LLAMA, "head_dim", "layer_types", "sliding_window", "tie_word_embeddings", "attention_bias"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.sampled_from(["", "8", "x"]),
            st.lists(st.integers(), max_size=3),
        ),
    ),
    st.sampled_from(list(FAMILIES)),
)
def test_a_nonsense_configuration_gives_a_shape_or_one_message(changes: dict[str, Any], name: str) -> None:
    config = LLAMA | {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512} | changes
    config["architectures"] = [name]
    try:
        shape = shape_of(config)
    except SpecError as error:
        assert error.brief
    else:
        assert shape.parameters > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": None}, "the architecture unknown is not known"),
        ({"architectures": ["MambaForCausalLM"]}, "the architecture MambaForCausalLM is not known"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0, not a size"),
        ({"hidden_size": -1}, "hidden_size is -1, not a size"),
        ({"vocab_size": "many"}, "vocab_size is 'many', not a size"),
        ({"num_hidden_layers": None}, "config.json has no num_hidden_layers"),
        ({"num_key_value_heads": 5}, "16 attention heads cannot share 5 KV heads"),
        ({"hidden_size": 1000}, "cannot be divided among 16 attention heads"),
        ({"tie_word_embeddings": "yes"}, "not true or false"),
        ({"layer_types": ["full_attention"]}, "has not one entry for each of 8 layers"),
        ({"layer_types": ["linear_attention"] * 8}, "has layers of linear_attention"),
        ({"text_config": 3}, "text_config is no object"),
        ({"architectures": ["Qwen3MoeForCausalLM"], "mlp_only_layers": "x"}, "not a list of numbers"),
        ({"architectures": ["DeepseekV3ForCausalLM"]}, "config.json has no qk_rope_head_dim"),
        ({"architectures": ["MixtralForCausalLM"]}, "config.json has no num_experts_per_tok"),
    ],
)
def test_each_mistake_of_a_configuration_has_its_message(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        shape_of(LLAMA | changes)
    assert said in caught.value.brief


def test_kv_heads_are_repeated_on_more_gpus_than_there_are() -> None:
    shape = shapes()["Qwen2.5-7B"]
    assert [shape.kv_numbers_per_token(n) for n in (1, 2, 4, 8)] == [1024, 512, 256, 256]
    # 28 heads: four GPUs can share them, eight cannot
    assert shape.split_refusal(4) is None
    assert "28 attention heads" in str(shape.split_refusal(8))
    assert "KV heads" in str(replace(shape, heads=30, kv_heads=10).split_refusal(3))


def test_latent_attention_keeps_the_same_on_every_gpu() -> None:
    shape = shapes()["DeepSeek-V3"]
    assert shape.kv_numbers_per_token(1) == shape.kv_numbers_per_token(8) == 576


def test_a_window_bounds_what_a_layer_keeps() -> None:
    shape = shapes()["Mistral-7B-v0.1"]
    cache = VllmCache(shape, gpus=1, kv_bits=16, in_flight_tokens=2048)
    assert cache.blocks_of_sequence(32768) == cache.blocks_of_sequence(16384) == (4095 + 2048 + 15) // 16 + 1
    # Gemma 3: five windows to one layer that sees all; 29 and 5 layers make groups of five
    gemma = VllmCache(shapes()["Gemma-3-4B"], gpus=1, kv_bits=16, in_flight_tokens=2048)
    assert gemma.layers_per_group == 5
    assert gemma.groups == {1024: 6, None: 1}
    swa = LlamaCppCache(shapes()["Gemma-3-4B"], kv_bits=16)
    doubled = swa.bytes_needed(context_tokens=65536, sequences=1) / swa.bytes_needed(context_tokens=32768, sequences=1)
    assert doubled < 2


def test_llama_cpp_rounds_each_requests_context_up() -> None:
    cache = LlamaCppCache(shapes()["Llama-3.1-8B"], kv_bits=16)
    # llama.cpp's own log of n_ctx_seq: 3 requests of 300 tokens get 512 each, 28 of 1 get 256 each
    for context, sequences, cells in ((300, 3, 512), (1, 28, 256), (10, 28, 256), (256, 4, 256)):
        whole = cache.bytes_needed(context_tokens=cells, sequences=1) * sequences
        assert cache.bytes_needed(context_tokens=context, sequences=sequences) == whole


def test_an_fp8_cache_takes_half() -> None:
    verdicts = [judge(model(), gpu(43.7), load(kv_bits=bits)) for bits in (16, 8)]
    water = [verdict.waterfall for verdict in verdicts]
    assert water[0] is not None
    assert water[1] is not None
    assert abs(water[0].kv_cache_bytes - 2 * water[1].kv_cache_bytes) < 2 * GIB / 1000


def test_the_waterfall_adds_up() -> None:
    water = waterfall(model(adapter_rank=16), gpu(43.7), load())
    assert water.total_bytes == int(43.7 * GIB)
    assert water.adapter_bytes > 0
    assert water.fixed_bytes + water.kv_cache_bytes + water.free_bytes == water.total_bytes
    assert water.reserve_bytes == pytest.approx(0.1 * water.total_bytes, abs=2)


def test_adapters_take_room_for_as_many_as_a_batch_may_have() -> None:
    one = waterfall(model(adapter_rank=16), gpu(43.7), load()).adapter_bytes
    three = waterfall(model(adapter_rank=16, adapters=3), gpu(43.7), load(sequences=8))
    assert three.adapter_bytes == 3 * one
    assert waterfall(model(adapter_rank=16, adapters=30), gpu(43.7), load(sequences=8)).adapter_bytes == 8 * one
    assert waterfall(model(adapters=3), gpu(43.7), load()).adapter_bytes == 0
    told = serve_arguments(model(adapter_rank=16, adapters=3), gpu(43.7), load(sequences=8))
    assert told[told.index("--enable-lora") :] == ["--enable-lora", "--max-loras", "3", "--max-lora-rank", "16"]
    # vLLM takes only ranks that it has kernels for
    told = serve_arguments(model(adapter_rank=12), gpu(43.7), load())
    assert told[told.index("--enable-lora") :] == ["--enable-lora", "--max-lora-rank", "16"]


def test_by_less_than_the_error_it_is_tight() -> None:
    fixed = waterfall(model(), gpu(80), load(utilization=1.0))
    just = (80 * GIB - fixed.free_bytes) / GIB
    # a card of that size has smaller batches, so a little is left
    assert judge(model(), gpu(just, name="Card"), load(utilization=1.0)).fits in (Fits.YES, Fits.TIGHT)
    tight = judge(model(), gpu(27.0), load())
    assert tight.fits is Fits.TIGHT
    assert advice(model(), gpu(27.0), load()) == "within the estimate's error"


def test_an_old_card_is_refused_with_the_reason() -> None:
    volta = gpu(31.7, capability=(7, 0))
    verdict = judge(model(), volta, load())
    assert verdict.fits is Fits.NO
    assert verdict.refusal == "too old: compute 7.0, needs 7.5"
    turing = judge(model(kind=WEIGHT_TYPES["fp8"]), gpu(40, capability=(7, 5)), load())
    assert turing.refusal == "too old: compute 7.5, needs 8.0"
    # bfloat16 becomes float16 there: the same size
    assert judge(model(), gpu(40, capability=(7, 5)), load()).refusal == ""
    assert "--dtype half" in " ".join(serve_arguments(model(), gpu(40, capability=(7, 5)), load()))


def test_what_makes_it_fit_is_tried_from_the_least_loss() -> None:
    found = remedies(model(), gpu(22.06), load())
    texts = [remedy.text for remedy in found]
    # 19.85 GiB to use, 15.70 of it taken: 4.15 GiB at 128 KiB a token for 8 requests
    assert texts[0] == "4256 tokens"
    assert "fp8 KV cache" in texts
    assert "fp8" in texts
    assert "2 GPUs" in texts
    assert all(remedy.verdict.fits in (Fits.YES, Fits.TIGHT) for remedy in found)
    assert remedies(model(), gpu(80), load()) == []
    # an older card cannot have fp8, so int8 is the first
    old = [remedy.text for remedy in remedies(model(), gpu(20, capability=(7, 5)), load())]
    assert "int8" in old
    assert "fp8" not in old


def test_a_model_of_which_only_the_size_is_known_is_not_said_to_fit() -> None:
    unknown = ModelInMemory(shape=None, kind=BF16, stored_bytes=10 * GIB)
    verdict = judge(unknown, gpu(43.7), load())
    assert verdict.fits is Fits.UNKNOWN
    assert verdict.longest_context_tokens is None
    assert judge(unknown, gpu(8), load()).fits is Fits.NO
    assert remedies(unknown, gpu(8), load()) == []


def test_llama_cpp_is_judged_on_one_gpu() -> None:
    held = model(engine=Engine.LLAMA_CPP, kind=WEIGHT_TYPES["q4_k"])
    assert judge(held, gpu(22), load()).fits is Fits.YES
    assert "one GPU only" in judge(held, gpu(22), load(gpus=2)).refusal
    assert serve_arguments(held, gpu(22), load()) == []


def test_the_command_has_what_was_judged() -> None:
    words = serve_arguments(
        model(kind=WEIGHT_TYPES["fp8"], adapter_rank=16), gpu(43.7), load(gpus=2, kv_bits=8, utilization=0.85)
    )
    assert " ".join(words) == (
        "--max-model-len 8192 --max-num-seqs 8 --gpu-memory-utilization 0.85 --tensor-parallel-size 2 "
        "--quantization fp8 --kv-cache-dtype fp8 --enable-lora --max-lora-rank 16"
    )


def test_what_one_should_know_of_a_card_is_said() -> None:
    fp8 = model(kind=WEIGHT_TYPES["fp8"])
    ampere, ada = gpu(43.7), gpu(43.7, capability=(8, 9))
    assert [text.split()[0] for text in remarks(fp8, ampere, load(kv_bits=8))] == ["fp8", "not"]
    assert remarks(fp8, ada, load(kv_bits=8)) == []
    assert "not known" in remarks(model(), gpu(43.7, capability=None), load())[0]


def test_an_adapter_takes_room_for_the_next_rank() -> None:
    shape = shapes()["Llama-3.1-8B"]
    assert adapter_bytes(shape, rank=9, gpus=1) == adapter_bytes(shape, rank=16, gpus=1)
    # of rank 16 in all seven linear layers: 41.9 million numbers, as PEFT counts them
    assert adapter_bytes(shape, rank=16, gpus=1) == 2 * 41_943_040


def test_graphs_are_captured_up_to_twice_the_sequences() -> None:
    assert captured_graphs(1024, 8192) == 51 + 51
    assert captured_graphs(256, 2048) == 51 + 35
    assert captured_graphs(1, 2048) == 2 + 1


def test_ggufs_block_sizes_are_those_of_the_official_package() -> None:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    official = {
        name: GGML_QUANT_SIZES[getattr(GGMLQuantizationType, name.upper().replace("_k", "_K"))] for name in _GGUF_BLOCKS
    }
    assert dict(_GGUF_BLOCKS) == official


@pytest.mark.parametrize(
    ("quantization", "name"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq, 4 bits"),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq, 8 bits"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "nf4"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "fp8",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 128}}},
            },
            "gptq, 4 bits",
        ),
    ],
)
def test_what_a_configuration_declares_is_understood(quantization: dict[str, object], name: str) -> None:
    assert declared_type(quantization).name == name


@pytest.mark.parametrize(
    "quantization",
    [{}, {"quant_method": "mxfp4"}, {"quant_method": "awq", "bits": "4"}, {"quant_method": "compressed-tensors"},
     {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 4, "type": "float"}}}}],
)  # fmt: skip
def test_an_unknown_quantization_is_not_guessed(quantization: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="not known from the configuration alone"):
        declared_type(quantization)


def test_types_have_more_than_one_name() -> None:
    assert plain_type("half") is WEIGHT_TYPES["float16"]
    with pytest.raises(SpecError, match="no type of weights"):
        plain_type("int64")


def test_usable_memory_is_seen_or_assumed() -> None:
    t4 = usable_gpu(find("T4"))
    assert (t4.nominal_gib, t4.usable_gib) == (16, 14.62)
    assert "nvidia-smi" in t4.source
    assumed = usable_gpu(GpuCapacity(name="Unheard-of 9000", memory_gib=40))
    assert assumed.usable_gib == pytest.approx(36.4)
    assert assumed.source.startswith("assumed")
    assert usable_gpu(GpuCapacity(name="NVIDIA H100 80GB HBM3", memory_gib=80)).usable_gib == 79.19
    # another card of nearly the same name
    grace = Accelerator(
        name="NVIDIA GH200 144GB HBM3e", memory_gib=144, compute_capability=(9, 0), power_limit_w=1000, source="test"
    )
    assert usable_gpu(grace).usable_gib == pytest.approx(141.1, abs=0.1)


GGUF = {
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.context_length": 8192,
    "llama.feed_forward_length": 14336,
    "tokenizer.ggml.tokens": 128256,
}


def test_a_gguf_file_tells_what_it_keeps() -> None:
    shape = shape_of_gguf(GGUF, {"tokenizer.ggml.tokens"})
    assert (shape.kv_numbers_per_token(1), shape.layers, shape.vocabulary) == (2048, 32, 128256)
    gemma = {key.replace("llama", "gemma2"): value for key, value in GGUF.items()}
    gemma |= {"general.architecture": "gemma2", "gemma2.attention.sliding_window": 4096}
    assert shape_of_gguf(gemma, ()).windows[:3] == (4096, None, 4096)
    latent = GGUF | {"llama.attention.kv_lora_rank": 512, "llama.rope.dimension_count": 64}
    assert shape_of_gguf(latent, ()).kv_numbers_per_token(1) == 576


@pytest.mark.parametrize(
    ("changes", "arrays", "said"),
    [
        ({"llama.block_count": None}, (), "the GGUF file has no llama.block_count"),
        ({"llama.attention.head_count": 0}, (), "llama.attention.head_count is 0, not a size"),
        ({}, ("llama.attention.head_count_kv",), "differs from layer to layer"),
        ({"llama.ssm.state_size": 16}, (), "keeps a state instead of keys and values"),
        ({"tokenizer.ggml.tokens": None}, (), "the GGUF file has no llama.vocab_size"),
    ],
)
def test_each_gap_of_a_gguf_file_has_its_message(changes: dict[str, Any], arrays: tuple[str, ...], said: str) -> None:
    metadata = {key: value for key, value in (GGUF | changes).items() if value is not None}
    with pytest.raises(SpecError) as caught:
        shape_of_gguf(metadata, arrays)
    assert said in caught.value.brief
