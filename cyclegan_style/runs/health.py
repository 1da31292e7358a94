"""What the numbers of ``health_…`` in metrics.jsonl say, to the log and to the report alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cyclegan_style.runs.tracking import Row

PREFIX = "health_"


@dataclass(frozen=True)
class Detector:
    """A way in which training goes wrong, and the number that tells it.

    Its keys are ``health_NAME_ab`` and ``_ba`` for what translates, ``health_NAME_a`` and ``_b``
    for what judges, or ``health_NAME``. In the texts, {a} and {A} are the domain that is translated
    or judged, and {b} the other.
    """

    name: str
    title: str
    complaint: str
    advice: str
    healthy: Literal["above", "below"]
    limit: float
    from_share: float = 1 / 3
    """Share of the run before which the number means nothing yet."""

    def is_beyond(self, value: float) -> bool:
        """Whether a number is not a healthy one."""
        return value <= self.limit if self.healthy == "above" else value >= self.limit


DETECTORS = (
    Detector(
        "change",
        "Change by translation",
        "translations of {A} equal their input",
        "lower loss.identity_{b}, loss.cycle_{a} or loss.contrastive; raise discriminator.channels;"
        " with task one_style, raise style.style_weight",
        "above",
        0.1,
    ),
    Detector(
        "variety",
        "Variety of translations",
        "translations of {A} all look alike",
        "raise loss.cycle_{a}, loss.contrastive or train.pool_size; set discriminator.augment",
        "above",
        0.35,
    ),
    Detector(
        "diversity",
        "Variety of pictures out of noise",
        "pictures like {A} all look alike",
        "set discriminator.augment, or loss.gradient_penalty r1; lower optimizer.learning_rate",
        "above",
        0.35,
    ),
    Detector(
        "brightness",
        "Brightness kept",
        "translations of {A} are inverted, dark where their input is bright",
        "raise loss.identity_{b}, or begin anew with generator.skip true",
        "above",
        0.0,
    ),
    Detector(
        "grid",
        "Grid against real pictures",
        "translations of {A} have a grid of four pixels",
        "begin anew with generator.upsampling bilinear, which paints none",
        "below",
        2.0,
        from_share=0.5,
    ),
    Detector(
        "spots",
        "Spots that the input lacks",
        "translations of {A} have spots that their inputs lack",
        "train longer at a lower optimizer.learning_rate, or with another generator.norm",
        "below",
        0.1,
        from_share=0.5,
    ),
    Detector(
        "hidden",
        "Information hidden in translations",
        "translations of {A} hide the way back where nobody sees it",
        "set loss.cycle_noise 0.05, or lower loss.cycle_{a}",
        "below",
        1.5,
    ),
    Detector(
        "separation",
        "Real told from made",
        "discriminator_{a} has won: it tells all that is made from real pictures",
        "set discriminator.spectral_norm true, loss.gradient_penalty r1 or discriminator.augment",
        "below",
        0.99,
    ),
    Detector(
        "spread",
        "Spread of verdicts",
        "discriminator_{a} is blind: it says the same of everything",
        "lower optimizer.learning_rate, or raise discriminator.channels",
        "above",
        0.02,
    ),
    Detector(
        "memorised",
        "Training pictures known by heart",
        "discriminator_{a} knows its training pictures by heart",
        "set discriminator.augment '[translation]', or find more pictures for data.{a}",
        "below",
        0.9,
        from_share=0.1,
    ),
    Detector(
        "stale",
        "Share of the run without a best score",
        "no score has been a best one for long",
        "stop, since best/ keeps the best models; evaluation.patience or fewer train.epochs do so",
        "below",
        1 / 3,
    ),
)


@dataclass(frozen=True)
class Finding:
    """What a detector finds of one of its keys when it was last measured."""

    detector: Detector
    key: str
    value: float
    is_beyond: bool
    speaks: bool
    """Beyond the limit twice in a row, and not before it can know."""
    is_new: bool
    """Speaks for the first time since it was healthy."""

    @property
    def sentence(self) -> str:
        """What is wrong, by which number, and what to turn."""
        detector = self.detector
        domain = self.key.removeprefix(PREFIX + detector.name).removeprefix("_")[:1]
        names = {"a": domain, "A": domain.upper(), "b": "b" if domain == "a" else "a"}
        return (
            f"{detector.complaint.format(**names)} ({self.value:.2g}, healthy {detector.healthy}"
            f" {detector.limit:.2g}): {detector.advice.format(**names)}"
        )


def keys_of(detector: Detector, rows: Sequence[Row]) -> list[str]:
    """The keys under which rows of metrics have a detector's numbers."""
    stem = PREFIX + detector.name
    endings = ("", "_ab", "_ba", "_a", "_b")
    return [stem + ending for ending in endings if any(stem + ending in row for row in rows)]


def findings(rows: Sequence[Row], total_steps: int) -> list[Finding]:
    """What all detectors find at the end of the rows, which tell all that is to be remembered."""
    return [
        finding(detector, key, rows, total_steps)
        for detector in DETECTORS
        for key in keys_of(detector, rows)
    ]


def finding(detector: Detector, key: str, rows: Sequence[Row], total_steps: int) -> Finding:
    """What a detector finds of one key."""
    measured = [row for row in rows if key in row]
    earliest = detector.from_share * total_steps
    counted = [row["step"] >= earliest and detector.is_beyond(row[key]) for row in measured[-3:]]
    last = measured[-1][key]
    speaks = len(counted) > 1 and all(counted[-2:])
    return Finding(
        detector,
        key,
        last,
        is_beyond=detector.is_beyond(last),
        speaks=speaks,
        is_new=speaks and (len(counted) < 3 or not counted[0]),
    )


def new_complaints(rows: Sequence[Row], total_steps: int) -> list[str]:
    """A line for each detector that begins to speak with the last row."""
    return [
        f"health: {found.sentence}"
        for found in findings(rows, total_steps)
        if found.is_new and found.key in rows[-1]
    ]
