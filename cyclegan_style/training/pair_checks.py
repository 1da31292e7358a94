"""What a configuration may ask of known pairs: every complaint names the field."""

from cyclegan_style.config import Config


def problems_of_pairs(config: Config) -> list[str]:
    """Pairs of which nothing is learned, and weights that leave nothing to learn."""
    if config.task != "cyclegan":  # which refuses all of these fields
        return []
    data, loss, problems = config.data, config.loss, []
    if data.pairs is not None and not all(data.pairs):
        problems.append("data.pairs must name two folders")
    if data.pairs is not None and not loss.paired:
        problems.append("loss.paired must be above 0 with data.pairs, which count by it")
    if data.pairs is None and loss.paired:
        problems.append(
            "data.pairs is missing: loss.paired needs two folders of equal names, such as"
            " [known/photos, known/paintings]"
        )
    if loss.adversarial_weight:
        return problems
    if not loss.paired:
        problems.append(
            "loss.adversarial_weight must be above 0 without loss.paired: nothing else tells what"
            " a translation looks like"
        )
    if loss.feature_matching:
        problems.append(
            "loss.feature_matching must be 0 with loss.adversarial_weight 0, which trains no"
            " discriminator"
        )
    return problems
