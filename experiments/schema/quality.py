"""Quality beside speed: what is asked of each variant, and what became of it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from experiments.schema.base import Spec
from experiments.schema.variant import Quantization

Interval = tuple[float, float]
BUILTIN = "builtin"


class QualityPlan(Spec):
    """`texts` are a file of reference texts and `prompts` one of prompts, one a line; `builtin` are ours. `task` is a
    JSONL file of {"question", "answer"}.

    A variant is flagged whose perplexity is more than `max_perplexity_increase` (0.05: 5 %) above that of the reference
    variant, or whose likeliest token is the reference's at less than `min_agreement` of the positions, or which
    answers less than `min_accuracy` of the task's questions. `max_seconds` bounds the scoring of a variant.
    """

    reference_quantization: Quantization = Quantization.BF16
    texts: Annotated[str, Field(min_length=1)] = BUILTIN
    prompts: Annotated[str, Field(min_length=1)] = BUILTIN
    task: Annotated[str, Field(min_length=1)] | None = None
    tokens_per_text: Annotated[int, Field(ge=2, le=4096)] = 64
    answer_tokens: Annotated[int, Field(ge=1, le=4096)] = 32
    max_perplexity_increase: Annotated[float, Field(ge=0)] | None = None
    min_agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    min_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    max_seconds: Annotated[float, Field(gt=0)] = 300.0

    @model_validator(mode="after")
    def _limits_what_is_measured(self) -> Self:
        if self.min_accuracy is not None and self.task is None:
            raise ValueError("min_accuracy limits the answers to a task: name its file as `task`")
        return self

    def asked(self) -> dict[str, object]:
        """What is measured. The limits and the reference say only how it is judged."""
        judged = {"reference_quantization", "max_perplexity_increase", "min_agreement", "min_accuracy"}
        return self.model_dump(mode="json", exclude=judged)


class TaskScore(Spec):
    """How many of a task's questions were answered exactly; the interval is Wilson's, 95 %."""

    questions: int
    correct: int
    accuracy: float
    interval: Interval


class QualityComparison(Spec):
    """Against the reference variant, position by position. `perplexity_ratio` is the variant's perplexity over the
    reference's, `agreement` the share of positions at which both hold the same token the likeliest, `greedy_agreement`
    the mean share of each greedy answer until the two part, `identical_answers` how many never do. Intervals are 95 %,
    by a bootstrap over whole texts or prompts."""

    reference: str
    reference_variant_id: str
    reference_is: Literal["itself", "same engine", "same engine, another release", "another engine"]
    tokens: int = 0
    texts: int = 0
    perplexity_ratio: float | None = None
    perplexity_ratio_interval: Interval | None = None
    agreement: float | None = None
    agreement_interval: Interval | None = None
    answers: int = 0
    identical_answers: int | None = None
    greedy_agreement: float | None = None
    greedy_agreement_interval: Interval | None = None
    reasons: dict[str, str] = Field(default_factory=dict)


class QualityResult(Spec):
    """Of one variant, on the launch `launch`. `method` is how its log-probabilities were had, "" where they were not;
    `material` identifies the texts, prompts, questions and lengths: equal ones can be compared. `flags` say which limit
    it is past; what is absent has its reason under its name."""

    launch: int = 0
    method: str = ""
    material: str = ""
    tokens: int = 0
    texts: int = 0
    seconds: float = 0.0
    perplexity: float | None = None
    perplexity_interval: Interval | None = None
    task: TaskScore | None = None
    comparison: QualityComparison | None = None
    flags: tuple[str, ...] = ()
    reasons: dict[str, str] = Field(default_factory=dict)

    @property
    def is_flagged(self) -> bool:
        """Whether its quality is past a limit of the experiment."""
        return bool(self.flags)
