"""The pool of past translations swaps as in the reference and remembers where it was."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cyclegan_style.training.pool import ImagePool


def numbered(*numbers: int) -> Tensor:
    """Images of one pixel that tell their number."""
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1)


def numbers(images: Tensor) -> list[int]:
    return images.flatten().int().tolist()


def test_no_pool_hands_on_what_it_gets():
    images = numbered(1, 2, 3)

    assert ImagePool(0, seed=0).exchange(images) is images


def test_a_pool_fills_first_and_returns_what_it_stores():
    pool = ImagePool(5, seed=0)

    returned = [*numbers(pool.exchange(numbered(0, 1, 2))), *numbers(pool.exchange(numbered(3, 4)))]

    assert returned == [0, 1, 2, 3, 4]
    assert numbers(torch.stack(pool.images)) == [0, 1, 2, 3, 4]


@settings(max_examples=40)
@given(
    size=st.integers(1, 6),
    seed=st.integers(0, 2**63 - 1),
    batches=st.lists(st.integers(1, 4), max_size=12),
)
def test_every_image_is_kept_or_returned_and_none_is_made_up(size, seed, batches):
    pool = ImagePool(size, seed)
    given_images: list[int] = []
    returned: list[int] = []
    for count in batches:
        batch = list(range(len(given_images), len(given_images) + count))
        given_images += batch
        shown = numbers(pool.exchange(numbered(*batch)))
        assert len(shown) == count
        returned += shown
        assert len(pool.images) == min(size, len(given_images))
    stored = [int(image) for image in pool.images]
    assert set(returned) <= set(given_images)
    assert set(stored) <= set(given_images)
    assert set(stored) | set(returned) == set(given_images)
    later = returned[size:]
    assert len(set(later)) == len(later)  # a stored image leaves when it is shown


def test_a_full_pool_swaps_every_second_image_for_any_stored_one():
    size, count = 10, 4000
    pool = ImagePool(size, seed=1)
    pool.exchange(numbered(*range(size)))

    ages = []
    for number in range(size, size + count):
        (shown,) = numbers(pool.exchange(numbered(number)))
        if shown != number:
            ages.append(number - shown)

    assert 0.45 < len(ages) / count < 0.55
    # An image is swapped in with ½ and meets its end with ½ · 1/size per draw: 20 draws on average.
    assert 17 < sum(ages) / len(ages) < 23


def test_places_are_drawn_evenly():
    pool = ImagePool(4, seed=2)
    pool.exchange(numbered(0, 1, 2, 3))
    counts = [0] * 4
    for number in range(4, 4004):
        before = [int(image) for image in pool.images]
        (shown,) = numbers(pool.exchange(numbered(number)))
        if shown != number:
            counts[before.index(shown)] += 1

    assert min(counts) > 0.2 * sum(counts)


def test_a_restored_pool_goes_on_alike():
    pool = ImagePool(3, seed=3)
    pool.exchange(numbered(*range(8)))
    copy = ImagePool(3, seed=99)
    copy.restore(pool.state(), torch.device("cpu"))

    for number in range(8, 60, 2):
        batch = numbered(number, number + 1)
        assert torch.equal(pool.exchange(batch), copy.exchange(batch))


def test_a_pool_is_restored_before_it_saw_anything():
    pool = ImagePool(3, seed=3)
    copy = ImagePool(3, seed=99)
    copy.exchange(numbered(7))
    copy.restore(pool.state(), torch.device("cpu"))

    draws = [numbers(each.exchange(numbered(*range(30)))) for each in (pool, copy)]
    assert draws[0] == draws[1]


def test_a_pool_leaves_torch_s_chance_alone_and_is_left_alone_by_it():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = ImagePool(2, seed=5).exchange(numbered(*range(40)))
    assert torch.equal(torch.get_rng_state(), before)

    torch.manual_seed(1)
    assert torch.equal(ImagePool(2, seed=5).exchange(numbered(*range(40))), first)
    assert not torch.equal(ImagePool(2, seed=6).exchange(numbered(*range(40))), first)


def test_what_is_stored_is_a_copy_without_a_graph():
    pool = ImagePool(2, seed=0)
    images = numbered(1, 2).requires_grad_(True)

    returned = pool.exchange(images * 1)
    with torch.no_grad():
        images.zero_()

    assert [int(image) for image in pool.images] == [1, 2]
    assert not returned.requires_grad
    assert not any(image.requires_grad for image in pool.images)


def test_a_stored_image_does_not_change_with_its_batch():
    pool = ImagePool(1, seed=0)
    images = numbered(1)
    pool.exchange(images)
    images.zero_()

    assert int(pool.images[0]) == 1
