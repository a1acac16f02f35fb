import numpy as np
import pytest

from palate.numerics.kernel import ItemKernel


def plain_kernel(kernel, a, b, linear=True):
    """k(i, j) term by term."""
    (phi, style), (phi_j, style_j) = a, b
    near, styled = ((phi - phi_j) ** 2).sum(), ((style - style_j) ** 2).sum()
    k = phi @ phi_j + style @ style_j if linear else 0.0
    k += np.exp(-near / (2 * kernel.length**2)) + np.exp(-styled / 2)
    return k + kernel.own * np.exp(-(near + styled) / (2 * 0.05**2))


@pytest.fixture
def items():
    rng = np.random.default_rng(0)
    text = rng.normal(size=(25, 8))
    return text / np.linalg.norm(text, axis=1, keepdims=True), 0.4 * rng.normal(size=(25, 3))


def gram(kernel, left, right, linear=True):
    rows, columns = list(zip(*left, strict=True)), list(zip(*right, strict=True))
    return np.array([[plain_kernel(kernel, a, b, linear) for b in columns] for a in rows])


@pytest.mark.parametrize("own", [0.0, 0.3])
def test_features_have_the_kernel_as_their_products_on_the_inducing_items(items, own):
    kernel = ItemKernel.over(*items, length=0.65, own=own)
    x = kernel.features(*items)
    np.testing.assert_allclose(x @ x.T, gram(kernel, items, items), atol=1e-5)


def test_an_inducing_and_an_unseen_item_have_their_exact_kernel(items):
    text, style = items
    kernel = ItemKernel.over(text[:18], style[:18], length=0.65, own=0.2)
    x = kernel.features(text, style)
    exact = gram(kernel, (text[:18], style[:18]), (text[18:], style[18:]))
    np.testing.assert_allclose(x[:18] @ x[18:].T, exact, atol=1e-5)


def test_two_unseen_items_have_the_linear_kernel_and_the_rest_projected(items):
    text, style = items
    seen, new = (text[:18], style[:18]), (text[18:], style[18:])
    kernel = ItemKernel.over(*seen, length=0.65, own=0.2)
    x = kernel.features(*new)
    across, inner = gram(kernel, new, seen, linear=False), gram(kernel, seen, seen, linear=False)
    exact = gram(kernel, new, new) - gram(kernel, new, new, linear=False)
    np.testing.assert_allclose(x @ x.T, exact + across @ np.linalg.solve(inner, across.T), atol=1e-5)
    assert (np.diag(x @ x.T) <= np.diag(gram(kernel, new, new)) + 1e-6).all()


def test_blocks_do_not_change_features(items):
    kernel = ItemKernel.over(*items, length=0.65, own=0.1)
    np.testing.assert_allclose(kernel.features(*items, block=4), kernel.features(*items), atol=1e-12)
    assert kernel.features(items[0][:0], items[1][:0]).shape == (0, 8 + 3 + 25)


def test_equal_texts_match_wherever_they_come_from(items):
    """A text's own merit is its content's, so a copy in another corpus has the same features."""
    text, style = items
    kernel = ItemKernel.over(text, style, length=0.65, own=0.5)
    copy = kernel.features(text[7:8].astype(np.float32), style[7:8].astype(np.float32))
    np.testing.assert_allclose(copy[0], kernel.features(text, style)[7], atol=1e-3)
    with_own, without = (
        ItemKernel.over(text, style, length=0.65, own=o).features(text, style) for o in (0.5, 0.0)
    )
    assert np.diag(with_own @ with_own.T - without @ without.T) == pytest.approx(0.5, abs=1e-5)


def test_equal_items_twice_among_the_inducing_ones(items):
    text, style = items
    kernel = ItemKernel.over(np.vstack([text, text[:3]]), np.vstack([style, style[:3]]), length=0.65, own=0.2)
    x = kernel.features(text, style)
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x @ x.T, gram(kernel, items, items), atol=1e-4)


def test_length_is_relative_to_the_items_distances(items):
    text, style = items
    kernel, wide = (ItemKernel.over(s * text, style, length=0.65, own=0.0) for s in (1.0, 10.0))
    assert wide.length == pytest.approx(10 * kernel.length)
    alone = ItemKernel.over(text[:1], style[:1], length=0.65, own=0.0)
    assert alone.length == pytest.approx(0.65)
