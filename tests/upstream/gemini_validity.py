"""What makes a generateContent request valid, as strictly as any server of this API has been seen to enforce it.

`check` raises `Violation` at the first rule broken. It takes a levelled body (gemini_fields.py), so that fields and
their types are known. The rules of thought signatures need memory and are in gemini_signatures.py.
"""

from __future__ import annotations

from typing import Any

from tests.upstream import gemini_tools, gemini_turns
from tests.upstream.gemini_fields import snake
from tests.upstream.gemini_models import Model
from tests.upstream.violation import Violation

DATA = (
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
    "toolCall", "toolResponse",
)  # fmt: skip
MEDIA = {"text", "inlineData", "fileData"}
BY_ROLE = {
    "user": MEDIA | {"functionResponse"},
    "function": {"functionResponse"},
    "model": MEDIA | {"functionCall", "executableCode", "codeExecutionResult", "toolCall", "toolResponse"},
}
NEEDED = {
    "inlineData": ("mimeType", "data"),
    "fileData": ("fileUri",),
    "functionCall": ("name",),
    "functionResponse": ("name", "response"),
}
RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "topP": (0, 1),
    "topK": (1, 1000),
    "candidateCount": (1, 1),
    "maxOutputTokens": (1, 1 << 31),
    "presencePenalty": (-2, 2),
    "frequencyPenalty": (-2, 2),
}
MAX_STOPS = 5
LEVELS = {"MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"}


def check(body: dict[str, Any], model: Model, *, allow_prefill: bool = False) -> None:
    """Raise Violation at the first broken rule. `allow_prefill` lets a model content come last."""
    if "cachedContent" in body:
        raise Violation("cached_content", "explicit caches are not supported here")
    _generation(body.get("generationConfig", {}), model)
    _safety(body.get("safetySettings", []))
    gemini_tools.check(body, model)
    _system(body.get("systemInstruction"))
    if not body.get("contents"):
        raise _fault("contents", "contents is not specified")
    for index, content in enumerate(body["contents"]):
        _content(f"contents[{index}]", content)
    gemini_turns.check(body["contents"], allow_prefill=allow_prefill)


def _fault(path: str, text: str) -> Violation:
    return Violation(path, text, form=f"* GenerateContentRequest.{path}")


def _generation(config: dict[str, Any], model: Model) -> None:
    for name, (least, most) in RANGES.items():
        if not least <= config.get(name, least) <= most:
            raise _fault(f"generation_config.{snake(name)}", f"must be in the range [{least}, {most}]")
    if len(config.get("stopSequences", [])) > MAX_STOPS:
        raise _fault("generation_config.stop_sequences", f"at most {MAX_STOPS} stop sequences")
    if "responseSchema" in config:
        if "responseJsonSchema" in config:
            raise _fault("generation_config", "only one of response_schema and response_json_schema may be set")
        gemini_tools.schema("generation_config.response_schema", config["responseSchema"])
    thinking = config.get("thinkingConfig", {})
    if "thinkingLevel" not in thinking:
        return
    if not model.third:
        raise Violation("generation_config.thinking_config", "Thinking level is not supported for this model.")
    if "thinkingBudget" in thinking:
        raise Violation("generation_config.thinking_config", "only one of thinking budget and thinking level")
    if thinking["thinkingLevel"].upper() not in LEVELS:
        raise Violation("generation_config.thinking_config.thinking_level", f"expected one of {sorted(LEVELS)}")


def _safety(settings: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    for at, setting in enumerate(settings):
        category = setting.get("category", "")
        if not category.startswith("HARM_CATEGORY_") or "threshold" not in setting:
            raise _fault(f"safety_settings[{at}]", "a category and a threshold are needed")
        if category in seen:
            raise _fault(f"safety_settings[{at}]", f"there is more than one setting for {category}")
        seen.add(category)


def _system(instruction: dict[str, Any] | None) -> None:
    if instruction is None:
        return
    if not instruction.get("parts"):
        raise _fault("system_instruction.parts", "must not be empty.")
    for at, part in enumerate(instruction["parts"]):
        if set(part) != {"text"} or not part["text"].strip():
            raise _fault(f"system_instruction.parts[{at}]", "expected text that is not blank, and nothing else")


def _content(path: str, content: dict[str, Any]) -> None:
    role = content.get("role")
    if role not in BY_ROLE:
        raise Violation(path, "Please use a valid role: user, model.", labelled=False)
    if not content.get("parts"):
        raise _fault(f"{path}.parts", "contents.parts must not be empty.")
    for at, part in enumerate(content["parts"]):
        _part(f"{path}.parts[{at}]", part, role)


def _part(path: str, part: dict[str, Any], role: str) -> None:
    data = [name for name in DATA if name in part]
    if len(data) != 1:
        raise _fault(f"{path}.data", "required oneof field 'data' must have one initialized field")
    kind = data[0]
    if kind not in BY_ROLE[role]:
        raise _fault(path, f"'{snake(kind)}' does not belong in a content of the role '{role}'")
    if role != "model" and {"thought", "thoughtSignature"} & set(part):
        raise _fault(path, f"thoughts do not belong in a content of the role '{role}'")
    for name in NEEDED.get(kind, ()):
        if part[kind].get(name) in {None, ""} if name != "response" else name not in part[kind]:
            raise _fault(f"{path}.{snake(kind)}.{snake(name)}", "is required and must not be empty.")
    if kind in {"functionCall", "functionResponse"}:
        _named(f"{path}.{snake(kind)}", part[kind])
    if kind == "text" and not _says(part, role):
        raise _fault(f"{path}.text", "expected text that is not blank")


def _named(path: str, inner: dict[str, Any]) -> None:
    if not gemini_tools.NAME.fullmatch(inner["name"]):
        raise _fault(f"{path}.name", f"Invalid function name: '{inner['name']}'")
    if not inner.get("id", "x"):
        raise _fault(f"{path}.id", "must not be empty.")


def _says(part: dict[str, Any], role: str) -> bool:
    """A model's text may be blank, as a piece of a stream may, and empty where it only carries a signature."""
    if role == "model":
        return bool(part["text"] or part.get("thoughtSignature"))
    return bool(part["text"].strip())
