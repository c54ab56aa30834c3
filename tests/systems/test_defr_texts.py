"""Prompts, tokens, text encoders and the command that writes class embeddings."""

import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.backbones.text import Bert, bert_rule
from hoi_jax.serialization.conversion import convert_state
from hoi_jax.systems.defr import embed_labels
from hoi_jax.systems.defr.embeddings import lift, unit_rows
from hoi_jax.systems.defr.prompts import class_prompts, hoi_prompt, ing_form
from hoi_jax.systems.defr.tokenizers import (
    WORDS_FILE,
    ClipMerges,
    ClipTokenizer,
    KnownWords,
    TextError,
    WordPieces,
    clip_clean,
    clip_tokenizer,
    clip_words,
    find_clip_vocabulary,
    read_clip_merges,
)
from hoi_jax.vocab import get_vocabulary
from tests.helpers.paths import GOLDEN


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        kind = {"float32": "F32", "float16": "F16"}[tensor.dtype.name]
        data = tensor.tobytes()
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("ride", "riding"), ("tie", "tying"), ("lie_on", "lying on"), ("hop_on", "hopping on"), ("cut", "cutting"),
        ("drink_with", "drinking with"), ("squeeze", "squeezing"), ("hose", "hosing"), ("lasso", "lassoing"),
        ("text_on", "texting on"), ("control", "controlling"), ("carry", "carrying"), ("eat_at", "eating at"),
    ],
)  # fmt: skip
def test_ing_forms(verb, expected):
    assert ing_form(verb) == expected


def test_sentences_of_both_styles():
    assert hoi_prompt("ride", "bicycle") == "a person riding a bicycle"
    assert hoi_prompt("hold", "umbrella") == "a person holding an umbrella"
    assert hoi_prompt("cut_with", "scissors") == "a person cutting with scissors"
    assert hoi_prompt(None, "hot_dog") == "a person and a hot dog"
    assert hoi_prompt("hug", "person") == "a person hugging another person"
    assert hoi_prompt("ride", "bicycle", style="released_like") == "a person ride the bicycle"
    assert hoi_prompt("race", "motorcycle", style="released_like") == "a motorcycle racing"
    assert hoi_prompt("walk", None) == "a person walking"


@pytest.mark.parametrize("style", ["paper", "released_like"])
@pytest.mark.parametrize("name", ["hico_det", "hoi_scenes", "vcoco", "hoi_scenes_actions"])
def test_every_class_has_a_sentence_of_its_own_that_needs_no_package(name, style):
    vocabulary = get_vocabulary(name)
    sentences = class_prompts(vocabulary, style)
    assert len(sentences) == len(set(sentences)) == (len(vocabulary.hois) or len(vocabulary.verbs))
    tokens = ClipTokenizer(KnownWords(io.read_json(WORDS_FILE)))(sentences)
    if name == "hico_det":
        theirs = io.read_npz(GOLDEN / "clip_hico_tokens.npz", max_bytes=io.MEGABYTE)[style]  # open_clip's tokenizer
        np.testing.assert_array_equal(tokens[:, : theirs.shape[1]], theirs)
        assert not tokens[:, theirs.shape[1] :].any()


def test_the_released_style_is_the_authors_list_line_by_line():
    """The digest is that of the 600 entries of scripts/prompts.json, drjinying/hts a721034, one a line."""
    lines = class_prompts(get_vocabulary("hico_det"), "released")
    digest = "edaed857f6f5450f9dec5fb0a546101f58408589275385f04706a4bba58c3244"
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == digest
    assert lines[3] == "a pilot flying the aircraft"
    tokens = ClipTokenizer(KnownWords(io.read_json(WORDS_FILE)))(lines)
    assert tokens.shape == (600, 77) and np.all(tokens.max(1) == 49407)


def test_the_released_style_exists_for_hico_only():
    with pytest.raises(ValueError, match="hoi_scenes"):
        class_prompts(get_vocabulary("hoi_scenes"), "released")


def test_texts_are_cut_as_by_clips_pattern():
    text = clip_clean("It&amp;apos;s  2nd  DOG's ''bone''!? 12\n")
    assert clip_words(text) == ["it", "'s", "2", "nd", "dog", "'s", "''", "bone", "''!?", "1", "2"]


def test_merges_are_applied_best_first():
    merges = ClipMerges([("b", "a</w>"), ("a", "b"), ("ab", "ab"), ("a", "ba</w>")])
    number = {512: "ba</w>", 513: "ab", 514: "abab", 515: "aba</w>"}
    assert [number[n] for n in merges("aba")] == ["aba</w>"]
    assert [number.get(n) for n in merges("ababba")] == ["abab", "ba</w>"]


def test_the_whole_vocabulary_agrees_with_the_small_table():
    path = find_clip_vocabulary()
    if path is None:
        pytest.skip("no package with CLIP's vocabulary is installed (pip install --no-deps open_clip_torch)")
    merges = read_clip_merges(path)
    assert all(list(merges(word)) == numbers for word, numbers in io.read_json(WORDS_FILE).items())


def test_unknown_words_and_long_texts_are_named(monkeypatch):
    monkeypatch.setattr("hoi_jax.systems.defr.tokenizers.find_clip_vocabulary", lambda: None)
    with pytest.raises(TextError, match="'zyzzyva'.*open_clip_torch"):
        clip_tokenizer()(["a zyzzyva"])
    with pytest.raises(TextError, match="76 tokens, 75 are allowed"):
        clip_tokenizer()(["a " * 76])


def test_word_pieces_take_the_longest_piece_first():
    pieces = WordPieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "rid", "##ing", "##in", "a", ",", "cafe", "r"])
    np.testing.assert_array_equal(pieces(["A RIDING,", "Café zz"]), [[2, 7, 4, 5, 8, 3], [2, 9, 1, 3, 0, 0]])
    with pytest.raises(TextError, match="PAD"):
        WordPieces(["[CLS]", "[SEP]", "[UNK]", "[PAD]"])


def bert_state(rng, width=8, words=11, layers=2) -> dict[str, np.ndarray]:
    shapes = {
        "embeddings.word_embeddings.weight": (words, width), "embeddings.position_embeddings.weight": (9, width),
        "embeddings.token_type_embeddings.weight": (2, width), "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,), "pooler.dense.weight": (width, width),
    }  # fmt: skip
    for i in range(layers):
        p = f"encoder.layer.{i}."
        linear = {f"attention.self.{n}": (width, width) for n in ("query", "key", "value")} | {
            "attention.output.dense": (width, width), "intermediate.dense": (12, width), "output.dense": (width, 12),
        }  # fmt: skip
        for name, shape in linear.items():
            shapes |= {f"{p}{name}.weight": shape, f"{p}{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{p}{name}.weight": (width,), f"{p}{name}.bias": (width,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def literal_bert(state, tokens, heads=2):
    """One sentence without padding, written out."""
    s = {name: value.astype(np.float64) for name, value in state.items()}

    def norm(x, name):
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return y * s[f"{name}.weight"] + s[f"{name}.bias"]

    def linear(x, name):
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    erf = np.vectorize(__import__("math").erf)
    e = "embeddings."
    x = s[f"{e}word_embeddings.weight"][tokens] + s[f"{e}position_embeddings.weight"][: len(tokens)]
    x = norm(x + s[f"{e}token_type_embeddings.weight"][0], f"{e}LayerNorm")
    for i in range(2):
        p = f"encoder.layer.{i}."
        q, k, v = (linear(x, f"{p}attention.self.{n}") for n in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for part in np.split(np.arange(x.shape[1]), heads):
            logits = q[:, part] @ k[:, part].T / np.sqrt(len(part))
            weights = np.exp(logits - logits.max(1, keepdims=True))
            mixed[:, part] = weights / weights.sum(1, keepdims=True) @ v[:, part]
        x = norm(x + linear(mixed, f"{p}attention.output.dense"), f"{p}attention.output.LayerNorm")
        h = linear(x, f"{p}intermediate.dense")
        x = norm(x + linear(h * (1 + erf(h / np.sqrt(2))) / 2, f"{p}output.dense"), f"{p}output.LayerNorm")
    return x


def test_bert_equals_the_formulas_written_out_and_ignores_padding():
    state = bert_state(np.random.default_rng(0))
    flat, unknown = convert_state(state, bert_rule)
    assert not unknown
    tree: dict = {}
    for name, value in flat.items():
        *path, leaf = name.split("/")[2:]
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    tokens = np.array([2, 5, 7, 3])
    net = Bert(vocabulary=11, positions=9, width=8, layers=2, heads=2, feedforward=12)
    padded = jnp.asarray(np.pad(tokens, (0, 3))[None])
    got = jax.jit(net.apply)({"params": tree}, padded, padded > 0)[0, :4]
    np.testing.assert_allclose(got, literal_bert(state, tokens), atol=2e-4)


def test_lifted_rows_keep_their_inner_products():
    rows = np.random.default_rng(0).normal(size=(20, 48))
    for width in (48, 64, 20, 30):
        lifted, share = lift(rows, width)
        assert lifted.shape == (20, width) and share == pytest.approx(1.0)
        np.testing.assert_allclose(lifted @ lifted.T, rows @ rows.T, atol=1e-9)
    lifted, share = lift(rows, 8)
    assert lifted.shape == (20, 8) and 0.3 < share < 0.9
    assert np.sum(lifted**2) / np.sum(rows**2) == pytest.approx(share)


def test_embed_labels_brings_clip_texts_back_through_the_projection(tmp_path, capsys):

    from tests.helpers.clip_rule_weights import state, text_shapes, vit_shapes

    shapes = text_shapes(77, 49408, 64, 1, 12) | vit_shapes(32, 16, 64, 1, 12)
    tensors = {name: value.astype(np.float32) for name, value in state(shapes).items()}
    write_safetensors(tmp_path / "clip.safetensors", tensors)
    classes = tmp_path / "classes.txt"
    classes.write_text("a person riding a bicycle\n\na person and an airplane\n")
    common = ["--classes", str(classes), "--weights", str(tmp_path / "clip.safetensors")]
    assert embed_labels.main([*common, "--out", str(tmp_path / "back.npz"), "--nearest", "1"]) == 0
    assert embed_labels.main([*common, "--out", str(tmp_path / "plain.npz"), "--width", "12"]) == 0
    assert "a person and an airplane" in capsys.readouterr().out
    back, plain = (io.read_npz(tmp_path / f"{name}.npz") for name in ("back", "plain"))
    texts = plain["params/classifier/kernel"]
    np.testing.assert_allclose(texts, unit_rows(texts), atol=1e-6)
    np.testing.assert_allclose(back["params/classifier/kernel"], texts @ tensors["visual.proj"].T, rtol=1e-4, atol=1e-5)
    assert list(back["sentences"]) == ["a person riding a bicycle", "a person and an airplane"]


def test_embed_labels_refuses_files_that_are_no_encoders(tmp_path, capsys):
    write_safetensors(tmp_path / "x.safetensors", {"conv.weight": np.zeros((2, 2), np.float32)})
    arguments = ["--vocabulary", "hoi_scenes", "--out", str(tmp_path / "o.npz"), "--weights"]
    assert embed_labels.main([*arguments, str(tmp_path / "x.safetensors")]) == 2
    assert embed_labels.main([*arguments, str(tmp_path / "absent.safetensors")]) == 2
    messages = capsys.readouterr().err
    assert "neither CLIP's nor BERT's" in messages and "no such file" in messages


def test_safetensors_are_read_and_damage_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float16([1.5])}
    write_safetensors(path, tensors)
    got = io.read_safetensors(path)
    assert set(got) == {"a", "b"} and got["b"].dtype == np.float16
    np.testing.assert_array_equal(got["a"], tensors["a"])
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[:-1], whole[:20], whole.replace(b"[0, 24]", b"[0, 23]"),
                    whole.replace(b"[0, 24]", b"[-8,16"), whole.replace(b"F32", b"F99"), b"\xff" * 40):  # fmt: skip
        path.write_bytes(damaged)
        with pytest.raises(io.CorruptFileError, match="a.safetensors"):
            io.read_safetensors(path)


def test_bfloat16_becomes_float32(tmp_path):
    path = tmp_path / "b.safetensors"
    text = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes.fromhex("803f20c0"))
    np.testing.assert_array_equal(io.read_safetensors(path)["x"], np.float32([1.0, -2.5]))
