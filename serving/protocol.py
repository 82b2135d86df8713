"""What the server takes and gives, as the OpenAPI document says it: strict types, exact limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, create_model

from routing_gym.serving.settings import ServeConfig

DECISION_ID = r"^[0-9a-f]{32}$"
_LARGEST_SEED = 2**63 - 1
_USER_MESSAGE: dict[str, Any] = {
    "contains": {
        "type": "object",
        "properties": {"role": {"const": "user"}},
        "required": ["role"],
    }
}


def _whole(value: Any) -> Any:
    """Take 3.0 for 3, as JSON does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
Single = Annotated[int, Field(ge=1, le=1), BeforeValidator(_whole)]
Seed = Annotated[int, Field(ge=-_LARGEST_SEED, le=_LARGEST_SEED), BeforeValidator(_whole)]


class _Strict(BaseModel):
    """Takes no text for a number and no number for text; ignores no field silently."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Open(BaseModel):
    """The same, but with fields that are not ours to judge."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class TextPart(_Open):
    """A part of a message that is text."""

    type: Literal["text"]
    text: str


class OtherPart(_Open):
    """A part of a message that only the upstream server understands."""

    type: Literal["image_url", "input_audio", "file", "refusal"]


class StreamOptions(_Open):
    """How a streamed answer is sent."""

    include_usage: StrictBool | None = Field(
        None, description="Whether a last chunk tells the tokens that were used."
    )


class ChatMessage(_Open):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart | OtherPart] | None = None


class ChatCompletionRequest(_Open):
    """A conversation to be answered; the text of the last user message is what is routed."""

    model: str = Field(
        min_length=1,
        max_length=256,
        description='"router" for the default policy, "router:<policy>" for another, or the name '
        "of an adapter, which then answers without a decision.",
    )
    messages: list[ChatMessage] = Field(min_length=1, json_schema_extra=_USER_MESSAGE)
    max_tokens: Positive | None = Field(
        None, description="New tokens at most; the server's own limit holds as well."
    )
    max_completion_tokens: Positive | None = Field(
        None, description="The newer name of max_tokens; holds if both are given."
    )
    temperature: float | None = Field(None, ge=0, le=2, description="0, the default, is greedy.")
    stop: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=4)]
        | None
    ) = None
    seed: Seed | None = None
    n: Single | None = Field(None, description="One answer a request.")
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None


class RouteRequest(_Strict):
    """Texts to be routed, without being answered."""

    input: str | list[str]
    policy: str | None = Field(
        None, min_length=1, max_length=64, description="Who decides; null is the default policy."
    )


class FeedbackRequest(_Strict):
    """How good the answer to a routed request was."""

    decision_id: str = Field(pattern=DECISION_ID, description="Of the header x-decision-id.")
    reward: Share = Field(description="0 is worst, 1 best.")


class ApiModels:
    """The request models with a server's own limits, which the OpenAPI document then states.

    Parameters
    ----------
    config
        The limits.
    text_only
        Whether messages may hold text alone.
    """

    def __init__(self, config: ServeConfig, *, text_only: bool) -> None:
        text: Any = Annotated[str, Field(max_length=config.max_prompt_chars)]
        part: Any = create_model("TextPart", __base__=TextPart, text=(text, ...))
        parts: Any = part if text_only else part | OtherPart
        content: Any = text | list[parts] | None
        message: Any = create_model(
            "ChatMessage",
            __base__=ChatMessage,
            __doc__=ChatMessage.__doc__,
            content=(content, None),
        )
        messages = Field(
            min_length=1, max_length=config.max_messages, json_schema_extra=_USER_MESSAGE
        )
        self.chat: type[ChatCompletionRequest] = create_model(
            "ChatCompletionRequest",
            __base__=ChatCompletionRequest,
            __doc__=ChatCompletionRequest.__doc__,
            messages=(list[message], messages),  # type: ignore[valid-type]
        )
        batch: Any = Annotated[list[text], Field(min_length=1, max_length=config.max_batch)]
        self.route: type[RouteRequest] = create_model(
            "RouteRequest",
            __base__=RouteRequest,
            __doc__=RouteRequest.__doc__,
            input=(text | batch, ...),
        )
        self.feedback = FeedbackRequest


class Usage(BaseModel):
    """Tokens, as the model's tokenizer counts them."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)


class AnswerMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"]
    content: str | None


class AnswerChoice(BaseModel):
    """The answer and why it ended."""

    index: int
    message: AnswerMessage
    finish_reason: str | None


class ChatCompletion(BaseModel):
    """A whole answer; `model` is the adapter that wrote it."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[AnswerChoice]
    usage: Usage | None = None


class Model(BaseModel):
    """A name that chat requests may ask for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The router, its policies, and the adapters."""

    object: Literal["list"]
    data: list[Model]


class RoutedText(BaseModel):
    """The decision on one text."""

    decision_id: str = Field(pattern=DECISION_ID)
    adapter: str
    propensity: Share = Field(
        description="Probability with which this adapter was drawn; of a fallback, the one that "
        "the policy gave it."
    )
    probabilities: dict[str, Share]
    confidence: Share
    fallback: bool


class RouteResponse(BaseModel):
    """The decisions, in the order of the texts."""

    policy: str
    policy_version: str
    decisions: list[RoutedText]


class FeedbackResponse(BaseModel):
    """Whether the reward is new; either way it is now in the log for good."""

    decision_id: str
    status: Literal["recorded", "unchanged"]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class ReadyState(BaseModel):
    """Whether the server may be sent requests, and why not."""

    status: Literal["ready", "not ready", "stopping"]
    checks: dict[str, str]


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorResponse(BaseModel):
    """An error in OpenAI's form."""

    error: ErrorDetail
