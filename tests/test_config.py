"""`run.yaml`: what it may hold, and how its mistakes are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentic.config import Config, read_config
from agentic.stack import Stack
from agentic.testing import ScriptedModel
from agentic.types import ConfigError
from agentic_shields import WordShield


def write(folder: Path, text: str) -> Path:
    file = folder / "run.yaml"
    file.write_text(text)
    return file


def test_models_by_name_in_both_forms_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-value")
    file = write(
        tmp_path,
        "models:\n"
        "  default:\n"
        "    model: openai/big\n"
        "    endpoint: ${env.NOT_SET:=http://127.0.0.1:9/v1}\n"
        "    api_key: ${env.MY_KEY}\n"
        "  small: local/default\n"
        "store: null\n",
    )
    config = read_config(file)
    assert config.models["default"].endpoint == "http://127.0.0.1:9/v1"
    assert config.models["default"].api_key == "secret-value"
    assert config.models["small"].model == "local/default"
    assert config.store is None
    assert "secret-value" not in repr(config)
    with Stack(config).agent(instructions="Be brief.") as agent:
        assert agent.model == "openai/big"
        assert agent.describe()["instructions"] == "Be brief."


def test_an_agent_finds_the_shields_of_its_stack_by_their_names() -> None:
    config = Config.model_validate(
        {
            "models": {"guard": "ollama/llama-guard3:8b"},
            "shields": {"meta-llama/Llama-Guard-3-8B": "llama_guard::guard", "form": "injection"},
            "store": None,
        }
    )
    own = WordShield(["boo"])
    stack = Stack(config, models={"default": ScriptedModel(["Hello."])}, shields={"mine": own})
    with stack.agent(shields=["form"], input_shields=("meta-llama/Llama-Guard-3-8B", "mine")) as agent:
        looking = agent.describe()["shields"]
    assert looking["user-input"] == ["injection", "llama_guard::guard", "words"]
    with pytest.raises(ConfigError, match="input_shields is a list"):
        stack.agent(input_shields="form")


WRONG = [
    ("modles: {}\n", r"line 1: there is no key 'modles'; did you mean 'models'\?"),
    (
        "models:\n  a:\n    model: x/y\n    endpont: z\n",
        r"line 4: there is no key 'models\.a\.endpont'; did you mean 'endpoint'\?",
    ),
    ("models:\n  a: opneai/m\n", r"line 2: Nothing called 'opneai' .* Did you mean 'openai'\?"),
    ("models:\n  a: m\n", r"line 2: a model is named provider/model, not 'm'"),
    ("toolgroups:\n- builtin::websaerch\n", r"line 2: Nothing .* Did you mean 'builtin::websearch'\?"),
    ("shields:\n  a: llama_gaurd\n", r"line 2: Nothing .* Did you mean 'llama_guard'\?"),
    ("banks:\n  a:\n    kind: vectr\n", r"line 3: a memory bank is vector, .* not 'vectr'"),
    ("prompts:\n  a: Hi {{x}}.\n", r"line 2: The template names 'x'"),
    ("prompts:\n  a b: Hi.\n", r"line 2: A prompt's name is letters"),
    ("models:\n  a:\n    model: ''\n", r"line 3: models\.a\.model: string should have at least 1 character"),
    ("models:\n  a: {}\n", r"line 2: models\.a\.model: field required"),
    ("models: [1]\n", r"line 1: models: input should be a valid dictionary"),
    ("store: [\n", "not valid YAML"),
    ("- a\n", "must hold keys and values, not list"),
    ("store: ${env.NOT_SET}\n", "line 1: the environment variable NOT_SET is not set"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[message[:24] for _, message in WRONG])
def test_mistakes_name_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(write(tmp_path, text))


def test_a_missing_file_and_a_missing_model_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="no model called 'default'"):
        Stack.from_config(write(tmp_path, "")).model()


def test_yaml_cannot_build_objects(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_config(write(tmp_path, "store: !!python/object/apply:os.getcwd []\n"))


def test_prompts_of_the_file_become_versions(tmp_path: Path) -> None:
    text = "prompts:\n  short: Be brief.\n  greeter: {template: '%s {{who}}.', variables: [who]}\n"

    def built(greeting: str, prompt: str, **options: Any) -> str:
        stack = Stack.from_config(write(tmp_path, text % greeting))
        options = {"store": tmp_path / "s.db", **options}
        with Stack(stack.config, models={"default": ScriptedModel()}).agent(prompt=prompt, **options) as agent:
            return f"{agent.describe()['prompt']}: {agent.describe()['instructions']}"

    ada = {"who": "Ada"}
    assert built("Greet", "greeter", variables=ada) == "greeter@1: Greet Ada."
    assert built("Greet", "short") == "short@1: Be brief."
    assert built("Hail", "greeter", variables=ada) == "greeter@2: Hail Ada."
    assert built("Greet", "greeter", variables=ada) == "greeter@2: Hail Ada."  # the store has that text; see rollback
    assert built("Hail", "greeter", variables=ada, store=None) == "greeter@1: Hail Ada."
