"""Style transfer by optimisation: what it reaches, what it keeps, and what it refuses."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torchvision import models

import cyclegan_style
from cyclegan_style.data.images import Pixels, luminance, resize, to_tensor, write_image
from cyclegan_style.errors import UserError
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.features.trained import Layers
from cyclegan_style.stylizing.colors import matched_colors, matched_luminance
from cyclegan_style.stylizing.layer_choice import choose_layers
from cyclegan_style.stylizing.network import USUAL_CONTENT_LAYERS, USUAL_STYLE_LAYERS
from cyclegan_style.stylizing.objective import Losses, Objective, Style
from cyclegan_style.stylizing.painting import (
    Moment,
    paint,
    portions,
    shares_of_steps,
    usual_scales,
)
from cyclegan_style.stylizing.place import GRID, MARGIN, Place
from cyclegan_style.stylizing.recipe import Recipe
from cyclegan_style.stylizing.stylizer import Painting, StyleSource, Stylizer
from cyclegan_style.synthetic import paint as oil_paint
from cyclegan_style.synthetic import render_photo

LAYERS = (USUAL_CONTENT_LAYERS["squeezenet"], USUAL_STYLE_LAYERS["squeezenet"])


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return resize(render_photo(2017, 3), (80, 72))


@pytest.fixture(scope="module")
def style() -> Pixels:
    return resize(oil_paint(render_photo(2017, 8)), (70, 90))


@pytest.fixture(scope="module")
def network() -> Layers:
    return SQUEEZENET.load(SQUEEZENET.find())


@pytest.fixture(scope="module")
def usual(photo, style) -> Painting:
    return painted(photo, style, steps=60)


def painted(content: Pixels, style: Pixels, **fields: object) -> Painting:
    return Stylizer(Recipe(**fields)).paint(content, [StyleSource(style)])


def batch(pixels: Pixels) -> Tensor:
    return to_tensor(pixels)[None]


def losses_of(pixels: Pixels, photo: Pixels, style: Pixels, network: Layers) -> Losses:
    """How far a picture is from the content and from the style, by one judge."""
    wanted = Style(batch(resize(style, photo.shape[:2])))
    judge = Objective(network, SQUEEZENET.input, batch(photo), [wanted], *LAYERS, Recipe())
    with torch.no_grad():
        return judge(batch(resize(pixels, photo.shape[:2])))


def test_it_takes_the_style_and_keeps_the_content(usual, photo, style, network):
    of_photo, of_style, of_painting = (
        losses_of(pixels, photo, style, network) for pixels in (photo, style, usual.pixels)
    )

    assert usual.pixels.shape == photo.shape
    assert of_painting.style < 0.3 * of_photo.style
    assert of_painting.content < 0.8 * of_style.content


def test_every_step_is_told(usual):
    assert [moment.step for moment in usual.history] == list(range(1, 61))
    assert {moment.steps for moment in usual.history} == {60}
    first, last = usual.history[0], usual.history[-1]
    assert last.total < 0.2 * first.total
    assert (last.height, last.width) == (80, 72)


@pytest.mark.parametrize(
    "fields",
    [
        {"style_loss": "moments"},
        {"style_loss": "wasserstein"},
        {"content_loss": "ssim"},
        {"optimizer": "adam"},
        {"start": "style"},
        {"pooling": "average"},
        {"scales": 2},
        {"layers": "auto"},
    ],
    ids=str,
)
def test_all_ways_lead_towards_the_style(fields, photo, style, network):
    result = painted(photo, style, steps=15, **fields)

    before, after = (losses_of(p, photo, style, network) for p in (photo, result.pixels))
    assert after.style < 0.8 * before.style
    assert result.problem is None


def test_noise_becomes_a_picture(photo, style):
    result = painted(photo, style, steps=40, start="noise", scales=1)

    assert result.history[-1].total < 0.3 * result.history[0].total


def test_more_weight_brings_more_style(photo, style, network):
    weak, strong = (
        losses_of(painted(photo, style, steps=30, style_weight=w).pixels, photo, style, network)
        for w in (0.01, 10.0)
    )

    assert strong.style < weak.style
    assert strong.content > weak.content


def test_variation_weight_smooths(photo, style):
    rough, smooth = (
        painted(photo, style, steps=20, variation_weight=w).pixels.astype(float) for w in (0, 50.0)
    )

    assert np.abs(np.diff(smooth, axis=1)).mean() < 0.8 * np.abs(np.diff(rough, axis=1)).mean()


def test_the_same_seed_paints_the_same_and_another_does_not(photo, style):
    first, again, other = (
        painted(photo, style, steps=8, start="noise", seed=seed).pixels for seed in (1, 1, 2)
    )

    assert (first == again).all()
    assert (first != other).mean() > 0.5


def ring(pixels: Pixels, depth: int) -> np.ndarray:
    """Pixels that are so deep below the border."""
    values = pixels.astype(float)
    inner = values[depth : values.shape[0] - depth, depth : values.shape[1] - depth]
    sides = (inner[0], inner[-1], inner[1:-1, 0], inner[1:-1, -1])
    return np.concatenate(sides)


def test_borders_look_like_the_rest(style):
    grey = np.full((96, 96, 3), 128, np.uint8)
    result = painted(grey, style, steps=40, content_weight=0.1, scales=1).pixels
    outer, inner = ring(result, 0), np.concatenate([ring(result, depth) for depth in range(5, 12)])

    assert abs(outer.mean() - inner.mean()) < 12
    assert 0.5 < outer.std() / inner.std() < 1.5


def test_every_pixel_of_the_border_is_painted(photo, style):
    """By itself, the network never sees the last row and column."""

    def share_of_last_row(place: Place | None) -> float:
        picture = batch(photo).requires_grad_()
        network = Stylizer(Recipe()).network
        judged = (batch(photo), [Style(batch(style))], *LAYERS, Recipe(), place)
        Objective(network, SQUEEZENET.input, *judged)(picture).total.backward()
        strength = picture.grad[0].abs().sum(0)
        return float(strength[-1].mean() / strength.mean())

    assert np.mean([share_of_last_row(Place(top, 4)) for top in (1, 3, 5)]) > 0.2
    assert share_of_last_row(None) == 0


def test_luminance_keeps_the_colours(photo, style):
    result = painted(photo, style, steps=20, preserve_colors="luminance").pixels
    wanted, found = (batch(pixels) for pixels in (photo, result))

    # Where nothing was clipped, the differences of the channels are the content's.
    inside = (found.amax(1) < 0.99) & (found.amin(1) > -0.99)
    differences = [(each[:, 0] - each[:, 2])[inside] for each in (wanted, found)]
    assert inside.float().mean() > 0.3
    assert (differences[0] - differences[1]).abs().max() < 0.02
    assert (luminance(wanted) - luminance(found)).abs().mean() > 0.02


def test_matched_colours_have_the_contents_mean_and_covariance(photo, style):
    # Far from black and white, where clipping would change them.
    content, other = (batch(pixels) * 0.3 for pixels in (photo, style))
    matched = matched_colors(other, content)

    for part in (lambda points: points.mean(1), torch.cov):
        found, wanted = (part(each[0].flatten(1)) for each in (matched, content))
        assert torch.allclose(found, wanted, atol=2e-3)
    assert torch.allclose(matched_colors(content, content), content, atol=1e-4)


def test_matched_luminance_has_the_contents_mean_and_deviation(photo, style):
    content, other = (batch(pixels) * 0.3 for pixels in (photo, style))
    matched = matched_luminance(other, content)

    assert (matched[:, 0] == matched[:, 2]).all()
    assert matched.mean().item() == pytest.approx(luminance(content).mean().item(), abs=1e-5)
    assert matched[:, 0].std().item() == pytest.approx(luminance(content).std().item(), rel=1e-4)


def test_a_mask_tells_where_its_style_goes(photo, style):
    left = np.zeros((*photo.shape[:2], 1), np.uint8)
    left[:, :30] = 255
    result = Stylizer(Recipe(steps=20)).paint(photo, [StyleSource(style, mask=left)])
    change = np.abs(result.pixels.astype(float) - photo)

    assert change[:, :24].mean() > 3 * change[:, 48:].mean()


def test_of_two_styles_the_heavier_shows_more(photo, style, network):
    other = 255 - style
    towards_first, towards_second = (
        losses_of(
            Stylizer(Recipe(steps=20))
            .paint(photo, [StyleSource(style, weight), StyleSource(other, 1 - weight)])
            .pixels,
            photo,
            style,
            network,
        ).style
        for weight in (0.95, 0.05)
    )

    assert towards_first < 0.5 * towards_second


def test_style_scale_changes_the_strokes(photo, style):
    fine, coarse = (painted(photo, style, steps=20, style_scale=s).pixels for s in (0.6, 3.0))

    assert (fine != coarse).mean() > 0.5


def test_layers_are_chosen_by_what_tells_the_pictures_apart():
    """Two noises of one brightness and other colours: only a layer that sees colour tells them."""
    generator = torch.Generator().manual_seed(0)
    brightness = torch.rand(1, 1, 64, 64, generator=generator)
    tints = [torch.tensor(tint).view(1, 3, 1, 1) for tint in ([1.0, 0.5, 0.0], [0.0, 0.5, 1.0])]
    content, other = (brightness * tint for tint in tints)
    grey = nn.Conv2d(3, 2, 1)
    nn.init.constant_(grey.weight, 1 / 3)
    nn.init.zeros_(grey.bias)
    row = nn.Sequential(nn.Identity(), grey, nn.AvgPool2d(2))
    network = Layers(row.requires_grad_(False), {"colour": 0, "grey": 1, "coarse": 2})
    # Normalising by ImageNet's deviations would weigh the colours.
    choice = choose_layers(network, UNCHANGED, content, [other])

    assert choice.separations["colour"] > 10 * choice.separations["grey"]
    assert dict(choice.style_layers) == {"colour": 1.0}
    assert dict(choice.content_layers) == {"grey": 1.0}
    assert any("colour" in line and "chosen for style" in line for line in choice.reasons())


class Unchanged:
    """What stands for the needs of a network that takes pictures as they are."""

    def normalised(self, images: Tensor) -> Tensor:
        return images


UNCHANGED = Unchanged()


def test_chosen_layers_are_used_and_explained(photo, style):
    result = painted(photo, style, steps=2, layers="auto", content_layers={"fire2": 2.0})

    assert len(result.reasons) == len(SQUEEZENET.layers)
    assert 1 <= len(result.style_layers) <= 4
    assert dict(result.content_layers) == {"fire2": 2.0}


def test_a_small_budget_paints_smaller_and_says_so(photo, style, caplog):
    result = painted(photo, style, steps=3, memory_budget="4MB")

    assert result.pixels.shape == photo.shape
    assert result.history[-1].height < 60
    assert "of memory" in caplog.text


def test_size_is_that_of_the_painting_not_of_the_result(photo, style):
    result = painted(photo, style, steps=3, size=40)

    assert (result.history[-1].height, result.history[-1].width) == (40, 36)
    assert result.pixels.shape == photo.shape


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_losses_beyond_all_numbers_keep_the_last_good_picture(photo, style, optimizer):
    result = painted(photo, style, steps=8, scales=1, optimizer=optimizer, learning_rate=1e30)

    assert result.problem is not None
    assert result.problem.startswith("step 2: the loss is not finite")
    assert len(result.history) == 1
    assert (result.pixels == photo).all()  # with which it began


def test_watching_shows_every_picture(photo, style):
    seen: list[Moment] = []
    stylizer = Stylizer(Recipe(steps=4, scales=1))
    stylizer.paint(photo, [StyleSource(style)], seen.append)

    assert [moment.picture.shape[2:] for moment in seen] == [photo.shape[:2]] * 4
    assert not torch.equal(seen[0].picture, seen[-1].picture)


def test_vgg_paints_as_well(photo, style, tmp_path):
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = models.vgg19(weights=None).features.state_dict()
    state = {
        name: torch.randn(tensor.shape, generator=generator) / tensor[0].numel() ** 0.5
        for name, tensor in shapes.items()
    }
    torch.save(state, tmp_path / "vgg.pth")
    result = painted(
        photo, style, steps=3, features="vgg19", weights=tmp_path / "vgg.pth", size=48, scales=1
    )

    assert result.history[-1].total < result.history[0].total


def test_python_takes_files_images_and_arrays(photo, style, tmp_path):
    write_image(tmp_path / "photo.png", photo)
    results = [
        cyclegan_style.stylize(content, painting, steps=2)
        for content, painting in (
            (tmp_path / "photo.png", style),
            (Image.fromarray(photo), [Image.fromarray(style)]),
            (photo, style),
        )
    ]

    assert all(isinstance(result, Image.Image) for result in results)
    assert len({result.tobytes() for result in results}) == 1


def test_what_is_no_picture_is_refused_in_one_line(photo, style):
    with pytest.raises(UserError, match="H×W×C of uint8"):
        cyclegan_style.stylize(photo / 255, style)
    with pytest.raises(UserError, match="a path, a Pillow image or an array"):
        cyclegan_style.stylize(photo, [None])


def of_one_colour() -> Pixels:
    return np.full((40, 40, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("styles", "message"),
    [
        ([], "at least one"),
        ([of_one_colour()], "one colour"),
        ([of_one_colour()[:1, :1]], "1 × 1 pixels, and 32 × 32 are needed"),
    ],
)
def test_pictures_without_style_are_refused(photo, styles, message):
    with pytest.raises(UserError, match=message):
        cyclegan_style.stylize(photo, styles)


def test_the_second_of_two_styles_is_named(photo, style):
    with pytest.raises(UserError, match="picture 2 has one colour"):
        cyclegan_style.stylize(photo, [style, of_one_colour()])


def test_a_black_mask_is_refused(photo, style):
    mask = np.zeros((20, 20, 1), np.uint8)
    with pytest.raises(UserError, match="black everywhere"):
        Stylizer(Recipe()).paint(photo, [StyleSource(style, mask=mask)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "--steps: must be at least 1"),
        ({"style_weight": -1.0}, "--style-weight: must be a number of at least 0"),
        ({"content_weight": float("nan")}, "--content-weight"),
        ({"content_weight": 0.0, "style_weight": 0.0}, "one of them must be above 0"),
        ({"learning_rate": 0.0}, "--learning-rate: must be a number above 0"),
        ({"style_scale": float("inf")}, "--style-scale"),
        ({"seed": -1}, "--seed"),
        ({"style_layers": {"fire1": 1.0}}, "has no layer 'fire1', but conv1, fire2"),
        ({"content_layers": {"fire2": -1.0}}, "the weight of fire2 must be above 0"),
        ({"memory_budget": "much"}, "--memory-budget"),
    ],
)
def test_bad_values_are_refused_in_one_line(fields, message):
    with pytest.raises(UserError, match=message) as caught:
        Stylizer(Recipe(**fields))
    assert "\n" not in str(caught.value)


@given(steps=st.integers(1, 2000), scales=st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_steps_are_shared_out_over_the_scales(steps, scales):
    shares = shares_of_steps(steps, scales)

    assert sum(shares) == steps
    assert len(shares) == scales
    assert shares[-1] >= 1
    assert min(shares) >= 0
    if steps > 20 * scales:
        assert sorted(shares, reverse=True) == shares
    assert sum(portions(steps)) == steps
    assert max(portions(steps)) <= 30


@pytest.mark.parametrize(
    ("size", "scales"),
    [((64, 64), 1), ((127, 500), 1), ((128, 200), 2), ((512, 512), 4), ((20, 20), 1)],
)
def test_scales_leave_64_pixels(size, scales):
    assert usual_scales(*size) == scales


def places() -> Iterator[Place]:
    for seed in range(20):
        yield Place.anywhere(torch.Generator().manual_seed(seed))


SHAPES = [(h, w) for h in (19, 20, 21) for w in (17, 18, 19)]  # a quarter of 80 × 72, rounded


def test_a_place_moves_the_grid_and_mirrors_the_border(photo):
    picture = batch(photo)
    height, width = picture.shape[2:]
    for place in places():
        around = place.around(picture)
        top, left = MARGIN + place.top, MARGIN + place.left
        inner = around[:, :, top : top + height, left : left + width]

        assert torch.equal(inner, picture)
        assert around.shape[2:] == (height + 2 * MARGIN + GRID, width + 2 * MARGIN + GRID)
        assert torch.equal(around[:, :, top - 1, left], picture[:, :, 1, 0])
        coarse = torch.nn.functional.avg_pool2d(around, 4)
        assert place.inside(around, (height, width)).equal(picture)
        assert place.inside(coarse, (height, width)).shape[2:] in SHAPES
    assert len({(place.top, place.left) for place in places()}) > 10


def test_painting_leaves_its_inputs_alone(photo, style, network):
    content, wanted = batch(photo), Style(batch(style))
    copies = content.clone(), wanted.picture.clone()
    paint(network, SQUEEZENET.input, content, [wanted], *LAYERS, Recipe(steps=3), lambda _: None)

    assert torch.equal(content, copies[0])
    assert torch.equal(wanted.picture, copies[1])
