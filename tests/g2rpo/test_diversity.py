import torch

from g2rpo.diversity import group_diversity


def test_equal_pictures_have_no_diversity():
    assert group_diversity(torch.ones(4, 2, 3), torch.tensor([0, 0, 1, 1])).tolist() == [0.0, 0.0]


def test_diversity_is_the_root_of_the_mean_variance_of_an_element():
    """The variances of 1, 3 and 5, 5 are 2 and 0, of mean 1; those of 0, 0, 3 and 1, 1, 1 are 3 and 0, of mean 1.5."""
    latents = torch.tensor([[1.0, 5.0], [0.0, 1.0], [3.0, 5.0], [0.0, 1.0], [3.0, 1.0]])
    found = group_diversity(latents, torch.tensor([0, 1, 0, 1, 1]))
    torch.testing.assert_close(found, torch.tensor([1.0, 1.5**0.5], dtype=torch.float64))


def test_diversity_scales_with_the_pictures_and_forgets_what_they_share():
    latents, group = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 0, 1, 1, 1])
    torch.testing.assert_close(
        group_diversity(3 * latents + 7, group), 3 * group_diversity(latents, group), rtol=1e-5, atol=0
    )
