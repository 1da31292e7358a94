"""Scores of known translations equal scikit-image's, or closed forms."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cyclegan_style.evaluation.paired import gradient_energy, psnr, sharpness, ssim

pytestmark = pytest.mark.numeric

SIZES = [(3, 32, 32), (3, 11, 40), (1, 23, 17)]


def picture_pairs(channels: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(height)
    truth = generator.random((4, channels, height, width))
    noise = generator.normal(0, 1, truth.shape) * np.array([0.01, 0.1, 0.5, 0]).reshape(-1, 1, 1, 1)
    noise[3] = generator.random(truth[3].shape) - truth[3]  # another picture altogether
    return np.clip(truth + noise, 0, 1), truth


@pytest.mark.parametrize("size", SIZES)
def test_psnr_is_that_of_scikit_image(size):
    images, truth = picture_pairs(*size)

    ours = psnr(torch.from_numpy(images), torch.from_numpy(truth))

    expected = [
        peak_signal_noise_ratio(t, i, data_range=1) for t, i in zip(truth, images, strict=True)
    ]
    assert ours.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_ssim_is_that_of_scikit_image_with_the_window_of_the_paper(size):
    images, truth = picture_pairs(*size)

    ours = ssim(torch.from_numpy(images), torch.from_numpy(truth))

    expected = [
        structural_similarity(
            t,
            i,
            channel_axis=0,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for t, i in zip(truth, images, strict=True)
    ]
    assert ours.tolist() == pytest.approx(expected, abs=1e-9)


def test_equal_pictures_are_as_similar_as_can_be():
    picture = torch.rand(2, 3, 16, 16)

    assert ssim(picture, picture).tolist() == pytest.approx([1, 1])
    assert psnr(picture, picture).isposinf().all()


def test_a_constant_error_gives_the_decibels_of_its_square():
    truth = torch.zeros(1, 3, 12, 12)

    assert psnr(truth + 0.1, truth).item() == pytest.approx(20, abs=1e-6)  # of 0.1 in float32


def test_half_precision_pictures_are_scored_in_full():
    images, truth = (torch.from_numpy(each) for each in picture_pairs(3, 16, 16))
    half = images.half()

    assert torch.equal(psnr(half, truth), psnr(half.double(), truth))
    assert torch.equal(ssim(half, truth), ssim(half.double(), truth))
    assert torch.equal(sharpness(half, truth), sharpness(half.double(), truth))


def test_the_energy_of_a_ramp_is_that_of_its_slopes():
    place = torch.arange(8, dtype=torch.float64)
    ramp = 0.02 * place + 0.03 * place[:, None]
    colours = torch.stack([ramp, 2 * ramp, -ramp])[None]

    per_unit = 8 * 7 * (0.02**2 + 0.03**2)
    assert gradient_energy(ramp[None, None]).tolist() == pytest.approx([per_unit])
    slope = 0.299 + 2 * 0.587 - 0.114
    assert gradient_energy(colours).tolist() == pytest.approx([slope**2 * per_unit])


def test_sharpness_is_one_of_the_truth_four_of_twice_the_contrast_and_less_when_blurred():
    truth = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) / 2

    assert sharpness(truth, truth).item() == 1
    assert sharpness(1 - truth, truth).item() == pytest.approx(1)
    assert sharpness(2 * truth, truth).item() == pytest.approx(4, rel=1e-6)
    assert sharpness(F.avg_pool2d(truth, 3, 1, 1), truth).item() < 0.3


def test_sharpness_is_a_ratio_of_sums():
    faint, strong = (contrast * torch.eye(8).expand(1, 3, 8, 8) for contrast in (0.1, 1.0))

    # The faint picture is twice too strong, which counts for a hundredth of the other.
    found = sharpness(torch.cat([2 * faint, strong]), torch.cat([faint, strong]))

    assert found.item() == pytest.approx((4 * 0.01 + 1) / (0.01 + 1), rel=1e-6)
