from __future__ import annotations

import torch

from training.augment import alternating_flip, colour, cutmix, cutout, translate


def images(count: int = 64, size: int = 8) -> torch.Tensor:
    return torch.arange(count * 3 * size * size, dtype=torch.float32).view(count, 3, size, size) + 1


def test_an_image_is_mirrored_in_every_other_epoch_and_half_of_them_in_each() -> None:
    x, index = images(1000), torch.arange(1000)
    epochs = [alternating_flip(x, index, epoch) for epoch in range(3)]
    mirrored = [(epoch == x.flip(3)).all(dim=(1, 2, 3)) for epoch in epochs]
    assert torch.equal(mirrored[0], ~mirrored[1])
    assert torch.equal(mirrored[0], mirrored[2])
    assert 400 < int(mirrored[0].sum()) < 600
    assert torch.equal(epochs[0][~mirrored[0]], x[~mirrored[0]])


def test_translation_shifts_by_at_most_what_is_asked() -> None:
    torch.manual_seed(0)
    x = torch.zeros(200, 1, 9, 9)
    x[:, :, 4, 4] = 1
    moved = translate(x, 2, reflect=False)
    assert torch.equal(moved.sum(dim=(1, 2, 3)), torch.ones(200))
    places = {tuple(place) for place in moved.nonzero()[:, 2:].tolist()}
    assert places == {(row, column) for row in range(2, 7) for column in range(2, 7)}


def test_translation_by_nothing_is_nothing() -> None:
    assert torch.equal(translate(images(), 0, reflect=True), images())


def test_a_reflected_rim_has_no_zeros() -> None:
    torch.manual_seed(0)
    assert translate(images(), 3, reflect=True).min() >= 1
    assert translate(images(), 3, reflect=False).min() == 0


def test_the_hole_has_the_size_asked_for_and_lies_anywhere() -> None:
    torch.manual_seed(0)
    holes = cutout(images(500), 4) == 0
    assert holes.any(dim=0).all()
    sizes = holes[:, 0].sum(dim=(1, 2))
    assert int(sizes.max()) == 16
    assert int(sizes.min()) == 4  # in a corner
    assert torch.equal(holes[:, 0], holes[:, 2])


def test_a_square_of_another_image_is_pasted_and_what_is_kept_is_told() -> None:
    torch.manual_seed(0)
    x = torch.arange(2000.0)[:, None, None, None].expand(2000, 1, 16, 16)
    mixed, other, kept = cutmix(x, 0.5)
    own = mixed == x
    assert torch.equal(
        own, mixed != torch.where(other == torch.arange(2000), -1, other)[:, None, None, None]
    )
    assert torch.equal(
        own.float().mean(dim=(1, 2, 3)), torch.where(other == torch.arange(2000), 1.0, kept)
    )
    whole = float((kept == 1).float().mean())
    assert 0.45 < whole < 0.6
    assert float(kept[kept < 1].min()) < 0.1
    unmixed, _, all_kept = cutmix(x, 0.0)
    assert torch.equal(unmixed, x) and bool((all_kept == 1).all())


def test_colour_lets_gradients_through() -> None:
    torch.manual_seed(0)
    x = images(4).requires_grad_(True)
    changed = colour(x, 0.5)
    assert not torch.equal(changed, x)
    changed.sum().backward()
    assert x.grad is not None and bool(x.grad.abs().sum() > 0)
    assert torch.equal(colour(x, 0.0), x)
