"""Two sets of pictures scored, or one made into statistics: what the commands ask for."""

from cyclegan_style.data.images import ImageError
from cyclegan_style.errors import UserError
from cyclegan_style.evaluation.evaluator import Evaluator
from cyclegan_style.evaluation.frechet import Moments
from cyclegan_style.evaluation.scores import EvaluationOptions, Scores, warn_of_few
from cyclegan_style.evaluation.statistics import Statistics


def evaluate_folders(real: str, fake: str, options: EvaluationOptions) -> Scores:
    """Scores of the pictures of ``fake`` against those of ``real``."""
    evaluator = Evaluator(options)
    scores = evaluator.compare(evaluator.load(real, "--real"), evaluator.load(fake, "--fake"))
    warn_of_few(evaluator.metrics, scores.circumstances)
    return scores


def statistics_of(spec: str, options: EvaluationOptions) -> tuple[Statistics, list[ImageError]]:
    """What ``evaluate stats`` writes, and the files that could not be read for it."""
    if options.precision != "fp32":
        raise UserError("--precision: statistics that others rely on are written in fp32 only")
    evaluator = Evaluator(options)
    pictures = evaluator.load(spec, "--images").pictures()
    moments = pictures.moments or Moments.of(pictures.features)
    covariance = moments.comoment / (moments.count - 1)
    name = evaluator.definition.name
    statistics = Statistics(moments.mean, covariance, moments.count, name, evaluator.weights)
    return statistics, pictures.errors
