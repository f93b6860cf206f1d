import random
import re

from selftaught_assets.method.pairs import split_modified_pair
from selftaught_assets.method.verdicts import parse_verdict
from selftaught_assets.tinyworld.data import ALWAYS_CAREFUL, Mixture, draw_example
from selftaught_assets.tinyworld.world import careful_judgment, read_instruction, split_of

NEVER_CAREFUL = dict.fromkeys(ALWAYS_CAREFUL, 0.0)


def _examples(count: int = 300, careful: dict[str, float] = ALWAYS_CAREFUL, **shares: float) -> list[tuple[str, str]]:
    mixture = Mixture(**dict.fromkeys(Mixture._fields[:4], 0.0) | shares, careful=careful)
    rng = random.Random(1)
    examples = [draw_example(rng, mixture) for _ in range(count)]
    return [(example.messages[0]["content"], example.completion) for example in examples]


def _judge_prompt(prompt: str) -> tuple[str, list[str], list[str]]:
    instruction, a, b = re.fullmatch(r"Judge: (.*)\nA: (.*)\nB: (.*)", prompt).groups()
    return instruction, a.split(), b.split()


def test_response_is_the_answer() -> None:
    for prompt, completion in _examples(response=1):
        assert completion.split() == read_instruction(prompt).answer


def test_modified_instruction_asks_for_something_else() -> None:
    for prompt, completion in _examples(modified_instruction=1):
        original, modified = read_instruction(prompt.removeprefix("Modify: ")), read_instruction(completion)
        assert modified.answer != original.answer


def test_modified_pair_is_read_by_the_method_and_its_response_is_right() -> None:
    for _, completion in _examples(modified_pair=1):
        pair = split_modified_pair(completion)
        assert pair.response.split() == read_instruction(pair.instruction).answer


def test_careful_judgment_is_right_and_complete() -> None:
    careful = {name: 1.0 for name in ALWAYS_CAREFUL}
    for prompt, completion in _examples(judge=1, careful=careful):
        instruction, a, b = _judge_prompt(prompt)
        answer = read_instruction(instruction).answer
        label = "A" if a == answer else "B"
        assert [a, b]["AB".index(label)] == answer
        assert completion == careful_judgment(answer, a, b, label)


def test_shallow_judgments_are_right_about_half_of_the_time() -> None:
    right = 0
    for prompt, completion in _examples(2_000, judge=1, careful=NEVER_CAREFUL):
        instruction, a, _ = _judge_prompt(prompt)
        right += parse_verdict(completion) == ("A" if a == read_instruction(instruction).answer else "B")
    assert 0.45 < right / 2_000 < 0.6


def test_share_of_careful_judgments_follows_the_mixture() -> None:
    careful = {name: float(name == "reverse") for name in ALWAYS_CAREFUL}
    for prompt, completion in _examples(1_000, judge=1, careful=careful):
        operation = read_instruction(_judge_prompt(prompt)[0]).operation
        assert completion.startswith("Correct:") == (operation.name == "reverse")


def test_every_list_belongs_to_the_training_split() -> None:
    for prompt, _ in _examples(1_000, response=1):
        assert split_of(read_instruction(prompt).items) == "training"
    for prompt, completion in _examples(1_000, modified_instruction=1):
        assert split_of(read_instruction(prompt.removeprefix("Modify: ")).items) == "training"
        assert split_of(read_instruction(completion).items) == "training"
    for prompt, _ in _examples(1_000, judge=1):
        assert split_of(read_instruction(_judge_prompt(prompt)[0]).items) == "training"
