import re
from pathlib import Path

import dagster as dg
import pytest
import yaml

from selftaught_assets.definitions import build_definitions
from selftaught_assets.errors import UserError
from selftaught_assets.method import limits
from selftaught_assets.recipe import PROMPTS_FOLDER, RECIPES_FOLDER, Recipe, engine_settings, load_recipe
from selftaught_assets.recipe.benchmarks import Benchmark
from selftaught_assets.recipe.engines import OpenAISettings, TransformersSettings, VllmSettings
from selftaught_assets.staleness import STAGES, basis_of
from selftaught_assets_tests.conftest import ROOT, write_small_recipe

HERE = {"name": "a", "path": "benchmark.jsonl"}
FORMS = ("pairwise", "single")


@pytest.mark.parametrize("path", sorted(RECIPES_FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    assert load_recipe(str(path)).name


def test_lines_of_own_data_that_are_commented_out_can_be_used() -> None:
    text = (RECIPES_FOLDER / "own_data.yaml").read_text(encoding="utf-8")
    section = text[text.index("benchmarks:") : text.index("# A folder as")]
    lines = re.sub(r"^( {2,4})# ", r"\1", section, flags=re.MULTILINE)
    own, published = yaml.safe_load(lines)["benchmarks"]
    assert Benchmark.model_validate(own).labels.TIE == "same"
    assert Benchmark.model_validate(published).hub == "allenai/reward-bench"


LAUGHS = "\n".join(["a0: &a0 [lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))])
MERGES = "\n".join(
    ["a0: &a0 {lol: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 10))]
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{LAUGHS}\npool: *a9\n", "its aliases (*) stand for too much"),
        (f"{MERGES}\npool: *a9\n", "its aliases (*) stand for too much"),
        ("pool: &pool [*pool]\n", "an alias (*) stands for what it is a part of"),
        (f"pool: {'[' * 1_500}\n", "it is nested too deeply"),
        (f"pool: {'{a: ' * 1_500}\n", "it is nested too deeply"),
        (f"seed: 0x{'f' * 90_000}\n", "a number has 90,002 digits"),
        (f"seed: 1{':59' * 30_000}\n", "a number has 90,001 digits"),
        ("name: a\n" * 30_000, "it has 240,000 characters, of which at most 100,000 are read"),
    ],
    ids=["aliases", "merges", "circle", "lists", "mappings", "hexadecimal", "sexagesimal", "long"],
)
def test_yaml_that_stands_for_more_than_can_be_read_is_refused_at_once(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bomb.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        load_recipe(str(tmp_path / "bomb.yaml"))
    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 'a'.center(1000000000) }}",
    ],
)
def test_a_template_of_a_component_that_never_ends_is_one_sentence(
    tmp_path: Path, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    (tmp_path / "defs.yaml").write_text(yaml.safe_dump({"type": "any", "attributes": {"seed": template}}))
    with pytest.raises(UserError, match=r"cannot be filled in \(known here: env\): ."):
        load_recipe(str(tmp_path / "defs.yaml"))


def test_a_value_that_a_message_quotes_is_cut(tmp_path: Path) -> None:
    path = write_small_recipe(tmp_path, seed="x" * 90_000)
    with pytest.raises(UserError, match=r"`seed` is 'xxx.*…: input should be a valid integer") as refused:
        load_recipe(str(path))
    assert len(str(refused.value)) < 1_000


def test_a_message_that_quotes_all_keeps_its_end() -> None:
    said = str(UserError(f"{'x' * 10_000_000} is no recipe: name another."))
    assert len(said) < 4_000
    assert said.endswith(" is no recipe: name another.")


@pytest.mark.parametrize(
    ("engine", "name"),
    [({"engine": "auto"}, "auto"), ({"engine": {"device": "cpu"}}, "transformers"), ({}, "transformers")],
)
def test_one_line_names_an_engine_and_the_embedded_one_needs_none(small_recipe, engine, name) -> None:
    assert small_recipe(**engine).engine.name == name


def test_the_engine_is_no_part_of_any_code_version(small_recipe) -> None:
    for stage in STAGES:
        assert version(small_recipe(engine="vllm"), stage) == version(small_recipe(), stage)


def test_paths_are_relative_to_the_recipe(small_recipe, tmp_path: Path) -> None:
    assert small_recipe().pool.path == tmp_path / "pool.jsonl"


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("elsewhere", Path("elsewhere")),
        ("/elsewhere", Path("/elsewhere")),
        ("runs #1?", Path("runs #1?")),
        ("file:///elsewhere", Path("/elsewhere")),
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
    ],
)
def test_the_journal_is_a_folder_or_an_address(written: str, place: Path | str, small_recipe, tmp_path: Path) -> None:
    assert small_recipe(journal=written).journal == (tmp_path / place if isinstance(place, Path) else place)


def test_a_password_in_the_address_of_the_journal_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = write_small_recipe(tmp_path, journal="s3://user:hunter2@bucket/prefix")
    with pytest.raises(UserError, match="`journal` holds a password") as refused:
        load_recipe(str(path))
    assert "hunter2" not in str(refused.value)


def version(recipe: Recipe, stage: str) -> str:
    return basis_of(recipe, stage).code_version


def test_code_version_changes_with_its_section_only(small_recipe) -> None:
    before, after = small_recipe(), small_recipe(judgments={"n": 5})
    assert version(before, "judgments") != version(after, "judgments")
    assert version(before, "checkpoint") == version(after, "checkpoint")


def test_code_version_changes_with_the_text_of_a_prompt(small_recipe, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for template in small_recipe().prompts.glob("*.jinja"):
        (prompts / template.name).write_text(template.read_text() + "\n")
    before = {stage: version(small_recipe(prompts=str(prompts)), stage) for stage in STAGES}
    (prompts / "judge.jinja").write_text((prompts / "judge.jinja").read_text() + "Be brief.\n")
    changed = {stage for stage in STAGES if version(small_recipe(prompts=str(prompts)), stage) != before[stage]}
    assert changed == {"judgments", "filtered_set", "evaluation", "seed_evaluation"}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"judgements": {"n": 3}}, "unknown field `judgements`"),
        ({"judgments": {"m": 3}}, "unknown field `judgments.m`"),
        ({"judgments": {"n": 0}}, "`judgments.n` is 0: input should be greater than or equal to 1"),
        ({"engine": {"name": "abacus"}}, "`engine.name` is 'abacus'"),
        ({"engine": "abacus"}, "`engine.name` is 'abacus'"),
        ({"engine": {"max_rows": 0}}, "`engine.max_rows` is 0: input should be greater than or equal to 1"),
        ({"engine": {"name": "vllm", "devices": 2}}, "unknown field `engine.devices`"),
        ({"engine": "openai"}, "field `engine.address` is missing"),
        (
            {"engine": {"name": "ray", "engine": {"name": "vllm", "dtype": "int8"}}},
            "`engine.engine.dtype` is 'int8'",
        ),
        ({"price": {}}, "price needs per_hour, or per_million_prompt_tokens and per_million_completion_tokens"),
        ({"price": {"per_hour": 2, "per_million_prompt_tokens": 1}}, "price is either per_hour or by tokens, not both"),
        ({"filter": {"keep": "any"}}, "filter.keep: any needs judgments.stop: never"),
        ({"pool": {}}, "pool needs exactly one of `path`, `hub`, `magpie`"),
        (
            {"pool": {"path": "pool.jsonl", "hub": "a/b"}},
            "pool needs exactly one of `path`, `hub`, `magpie`",
        ),
        ({"pool": {"magpie": {"count": 3}, "id_field": "id"}}, "pool.id_field has no meaning beside pool.magpie"),
        ({"pool": {"path": "pool.jsonl", "split": "train"}}, "pool.split goes with `hub`, which is not there"),
        ({"pool": {"path": "p.jsonl", "format": "messages", "input_field": "i"}}, "pool.input_field has no meaning in"),
        (
            {"pool": {"sources": [{"name": "a"}]}},
            "the source a of the pool needs exactly one of",
        ),
        (
            {"pool": {"sources": [{"name": "a", "path": "pool.jsonl"}] * 2}},
            "two sources of the pool have the same name",
        ),
        (
            {"pool": {"sources": [{"name": "a", "path": "pool.jsonl"}], "id_field": "id"}},
            "pool.id_field belongs to one source",
        ),
        (
            {"pool": {"sources": [{"name": "a", "path": "pool.jsonl"}]}, "instructions": {"shares": {"b": 1}}},
            "instructions.shares must name each source of the pool once, and they are: a",
        ),
        ({"pool": {"path": "nowhere.jsonl"}}, "`pool.path` names"),
        ({"verdicts": {"format": "stars"}}, "`verdicts.format` is 'stars'"),
        ({"verdicts": {"format": "json"}, "prompts": str(PROMPTS_FOLDER)}, "json needs `prompts` of its own"),
        ({"seed_model": "nowhere"}, "`seed_model` names"),
        ({"pool": {"path": "a\0b"}}, "`pool.path` is 'a\\x00b': no file can have such a name"),
        ({"training": {"learning_rate": float("inf")}}, "`training.learning_rate` is inf: input should be a finite"),
        ({"evaluation": {"sampling": {"temperature": float("inf")}}}, "`evaluation.sampling.temperature` is inf"),
        ({"price": {"per_hour": float("inf")}}, "`price.per_hour` is inf"),
        ({"name": "\x1b[2J\u202e"}, "`name` is '\\x1b[2J\\u202e': string should match"),
        ({"\x1b[2J": 1}, "unknown field `\\x1b[2J`"),
        ({"journal": "s4://bucket/prefix"}, "`journal` is 's4://bucket/prefix', but fsspec knows no storage s4://"),
        ({"journal": "s3:///prefix"}, "`journal` is 's3:///prefix', which names no bucket"),
        ({"name": "Not A Name"}, "`name` is 'Not A Name'"),
        ({"evaluation": {"sampling": {"temperature": -1}}}, "`evaluation.sampling.temperature` is -1"),
        ({"benchmarks": [{"name": "a", "path": "benchmark.jsonl"}] * 2}, "two benchmarks have the same name"),
        ({"benchmarks": [HERE | {"name": "held_out"}]}, "a benchmark is named held_out, which stands for the held-out"),
        ({"checks": {"min_similarity": 0.9, "max_similarity": 0.5}}, "checks.min_similarity is above checks.max_simil"),
        ({"checks": {"min_correct_share": 0.99}}, "checks.min_correct_share is above checks.max_correct_share"),
        ({"checks": {"max_refusals": 0.5}}, "unknown field `checks.max_refusals`"),
        ({"checks": {"length_tolerance": 0.6}}, "`checks.length_tolerance` is 0.6"),
        ({"benchmarks": [{"name": "a", "path": "nowhere.jsonl"}]}, "`benchmarks.a.path` names"),
        ({"benchmarks": [{"name": "a"}]}, "benchmark a needs exactly one of `path` and `hub`"),
        ({"benchmarks": [HERE | {"hub": "o/n"}]}, "benchmark a needs exactly one of `path` and `hub`"),
        ({"benchmarks": [HERE | {"split": "test"}]}, "benchmark a has `split`, which goes with `hub`, not with `path`"),
        (
            {"benchmarks": [{"name": "a", "hub": "o/n", "files": "*"}]},
            "benchmark a has `files`, which goes with `path`, not with `hub`",
        ),
        ({"benchmarks": [{"name": "a", "hub": "name"}]}, "`benchmarks.0.hub` is 'name'"),
        (
            {"benchmarks": [HERE | {"format": "rewardbench3"}]},
            "`benchmarks.0.format` is 'rewardbench3': it must be one of pairs, chosen_rejected, rewardbench, ",
        ),
        (
            {"benchmarks": [HERE | {"format": "judgebench", "fields": {"label": "x"}}]},
            "benchmark a: the field names of `format: judgebench` are fixed",
        ),
        ({"benchmarks": [HERE | {"fields": {"prompt": "x"}}]}, "unknown field `benchmarks.0.fields.prompt`"),
        (
            {"benchmarks": [HERE | {"fields": {"chosen": "x"}}]},
            "benchmark a: `format: pairs` has no field `chosen`",
        ),
        (
            {"benchmarks": [HERE | {"format": "chosen_rejected", "fields": {"label": "x"}}]},
            "benchmark a: `format: chosen_rejected` has no field `label`",
        ),
        (
            {"benchmarks": [HERE | {"format": "chosen_rejected", "labels": {"A": 1, "B": 2}}]},
            "benchmark a: `labels` goes with `format: pairs`, not with chosen_rejected",
        ),
        ({"benchmarks": [HERE | {"labels": {"A": 1, "B": "1"}}]}, "benchmark a: two `labels` have the same value"),
        (
            {"benchmarks": [HERE | {"labels": {"A": 1, "B": 2}, "ties": "count"}]},
            "benchmark a: `ties: count` needs to know which of the `labels` is TIE",
        ),
        (
            {"benchmarks": [HERE | {"format": "rewardbench", "ties": "count"}]},
            "benchmark a: `format: rewardbench` has no ties to count",
        ),
        (
            {"promotion": {"rule": "better"}},
            "promotion.rule: better needs promotion.validation, the name of a benchm",
        ),
        ({"promotion": {"stop_when_flat": 2}}, "promotion.stop_when_flat needs promotion.validation"),
        (
            {"promotion": {"rule": "not_worse", "validation": "other"}},
            "promotion.validation names the benchmark 'other', but there is only tiny",
        ),
        ({"promotion": {"rule": "never"}}, "`promotion.rule` is 'never'"),
        ({"promotion": {"stop_when_flat": 0, "validation": "tiny"}}, "`promotion.stop_when_flat` is 0"),
        ({"promotion": {"alpha": 1}}, "`promotion.alpha` is 1"),
        (
            {"training": {"start_from": "previous"}, "judgments": {"first_annotator": str(ROOT / "models" / "seed")}},
            "training.start_from: previous cannot continue a judgments.first_annotator",
        ),
        (
            {"benchmarks": [HERE | {"ties": "count"}]},
            "benchmark a: `ties: count` needs verdicts.ties: true, so that the judge is offered a tie",
        ),
        ({"judgments": {"form": "triple"}}, "`judgments.form` is 'triple'"),
        ({"judgments": {"form": "single", "positions": "both"}}, "judgments.positions: both has no meaning"),
        (
            {"judgments": {"form": "single"}, "verdicts": {"elicit": "missing"}},
            "verdicts.elicit: missing draws a single token, and the ratings 1 and 10 may begin with the same one",
        ),
        (
            {"verdicts": {"elicit": "missing", "format": "arrows", "ties": True}},
            "in the format arrows a tie begins as another verdict does: set ties: false, or format: brackets, json or",
        ),
        (
            {"verdicts": {"elicit": "missing", "closing": "Not [[B]] but "}},
            "verdicts.closing leads to no verdict: 'Not [[B]] but [[A]]' is not read as one",
        ),
    ],
)
def test_impossible_recipe_gets_one_sentence(tmp_path: Path, overrides: dict, sentence: str) -> None:
    path = write_small_recipe(tmp_path, **overrides)
    with pytest.raises(UserError) as caught:
        load_recipe(str(path))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sections", [{"verdicts": {"ties": True}}, {"judgments": {"form": "single"}}])
def test_ties_can_be_counted_where_a_judge_can_call_one(small_recipe, sections: dict) -> None:
    counting = small_recipe(benchmarks=[HERE | {"ties": "count"}], **sections)
    assert counting.benchmarks[0].ties == "count"


def test_code_version_of_a_checkpoint_knows_the_gate_only_where_there_is_one(small_recipe, tmp_path: Path) -> None:
    def version(**promotion: object) -> str:
        graph = build_definitions([small_recipe(promotion=promotion)], data=tmp_path).resolve_asset_graph()
        return graph.get(dg.AssetKey(["small", "checkpoint"])).code_version

    assert version() == version(validation="tiny", alpha=0.1)
    assert version() != version(validation="tiny", rule="better")
    assert version(validation="tiny", rule="better") != version(validation="tiny", rule="better", alpha=0.1)


def test_whole_numbers_with_a_point_are_labels_and_no_truth_values(small_recipe) -> None:
    """As whoever has seen 1.0 and 2.0 in a table writes them."""
    labels = small_recipe(benchmarks=[HERE | {"labels": {"A": 1.0, "B": 2.0, "TIE": 0.0}}]).benchmarks[0].labels
    assert [value for _, value in labels] == [1, 2, 0]
    assert not any(isinstance(value, bool) for _, value in labels)


def test_missing_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(UserError, match=r"no recipe 'nothing'.*demo"):
        load_recipe("nothing")


@pytest.mark.parametrize("text", ["a: [1", "- just\n- a list", "\x00", "", "a: 2024-13-45"])
def test_recipe_that_is_not_a_mapping_gets_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\njudgments:\n  n: 8\njudgments:\n  n: 2\n", "`judgments` occurs twice (lines 2 and 4)"),
        (
            "judgments:\n  sampling:\n    top_p: 1\n    top_p: 0.5\n",
            "`judgments.sampling.top_p` occurs twice (lines 3",
        ),
        ("judgments: {n: 8, n: 2}\n", "`judgments.n` occurs twice (lines 1 and 1)"),
        ('seed: 1\n"seed": 2\n', "`seed` occurs twice (lines 1 and 2)"),
        (
            "benchmarks:\n- name: a\n- name: b\n  path: x\n  path: y\n",
            "`benchmarks[1].path` occurs twice (lines 4",
        ),
    ],
)
def test_a_field_that_stands_twice_is_named_with_its_lines(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(str(path))
    assert str(caught.value).startswith(f"Recipe {path}: {said}")
    assert "\n" not in str(caught.value)


def test_fields_of_an_alias_are_not_repeated() -> None:
    settings = engine_settings("{name: openai, address: &a 'http://a', model: m, identity: *a}", load_recipe("demo"))
    assert settings.identity == "http://a"


def test_prompt_template_as_windows_saves_it_begins_without_a_byte_order_mark(small_recipe, tmp_path: Path) -> None:
    plain, prompts = small_recipe(), tmp_path / "marked"
    prompts.mkdir()
    for template in plain.prompts.glob("*.jinja"):
        (prompts / template.name).write_bytes(b"\xef\xbb\xbf" + template.read_bytes())
    assert small_recipe(prompts=str(prompts)).templates == plain.templates


def test_prompt_template_that_is_not_utf8_is_one_sentence(small_recipe, tmp_path: Path) -> None:
    prompts = tmp_path / "latin"
    prompts.mkdir()
    for template in small_recipe().prompts.glob("*.jinja"):
        (prompts / template.name).write_bytes(template.read_bytes())
    (prompts / "judge.jinja").write_bytes(b"caf\xe9 {{ instruction }}")
    with pytest.raises(UserError, match=r"the prompt template .*judge.jinja is not UTF-8"):
        small_recipe(prompts=str(prompts))


def test_missing_prompt_template_is_named(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    path = write_small_recipe(tmp_path, prompts="prompts")
    with pytest.raises(UserError, match=r"response\.jinja does not exist"):
        load_recipe(str(path))


def prompts_without_score(recipe, folder: Path) -> str:
    folder.mkdir()
    for template in recipe.prompts.glob("*.jinja"):
        if template.stem != "score":
            (folder / template.name).write_bytes(template.read_bytes())
    return str(folder)


def test_a_prompts_folder_without_the_score_template_serves_the_pairwise_form_only(small_recipe, tmp_path) -> None:
    prompts = prompts_without_score(small_recipe(), tmp_path / "prompts")
    assert small_recipe(prompts=prompts).templates.score is None
    with pytest.raises(UserError, match=r"score\.jinja does not exist"):
        small_recipe(prompts=prompts, judgments={"form": "single"})


def test_the_score_template_counts_for_the_version_of_the_single_form_only(small_recipe, tmp_path) -> None:
    prompts = prompts_without_score(small_recipe(), tmp_path / "prompts")
    pairwise = version(small_recipe(), "filtered_set")
    score = tmp_path / "prompts" / "score.jinja"
    versions = []
    for text in ("{{ instruction }} {{ response }}", "{{ instruction }}: {{ response }}"):
        score.write_text(text)
        recipes = [small_recipe(prompts=prompts, judgments={"form": form}) for form in FORMS]
        versions.append([version(recipe, "filtered_set") for recipe in recipes])
    assert versions[0][0] == versions[1][0] == pairwise
    assert versions[0][1] != versions[1][1]


def test_an_engine_named_alone_means_the_recipes_own_settings_or_its_defaults(small_recipe) -> None:
    recipe = small_recipe(engine={"device": "cpu", "max_rows": 7})
    assert engine_settings("transformers", recipe) is recipe.engine
    assert engine_settings("vllm", recipe) == VllmSettings(name="vllm")
    assert engine_settings("transformers", small_recipe(engine="vllm")) == TransformersSettings()


def test_an_engine_can_be_a_mapping_as_in_a_recipe(small_recipe) -> None:
    text = "{name: openai, address: http://127.0.0.1:8000/v1, model: seed, identity: seed-v1, api: chat}"
    settings = engine_settings(text, small_recipe())
    assert isinstance(settings, OpenAISettings)
    assert (settings.address, settings.api) == ("http://127.0.0.1:8000/v1", "chat")
    assert engine_settings("{max_rows: 3}", small_recipe()) == TransformersSettings(max_rows=3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("abacus", "Input tag 'abacus' found using 'name' does not match any of the expected tags"),
        ("openai", "field `openai.address` is missing"),
        ("{name: vllm, rows: 3}", "unknown field `vllm.rows`"),
        ("{name: vllm, max_rows: 0}", "`vllm.max_rows` is 0: input should be greater than or equal to 1"),
        ("{name: vllm", "is not valid YAML"),
        ("{name: vllm, name: ray}", "`name` occurs twice"),
        ("3", "must be a name, such as vllm, or a mapping"),
        ("", "must be a name, such as vllm, or a mapping"),
    ],
)
def test_an_impossible_engine_gets_one_sentence(small_recipe, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        engine_settings(text, small_recipe())
    assert str(caught.value).startswith(f"The engine {text!r}")
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
