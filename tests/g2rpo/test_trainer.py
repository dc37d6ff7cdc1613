import pytest
import torch

from g2rpo.trainer import OptimizerSettings, Trainer


def settings(**changes):
    plain = {"learning_rate": 0.1, "betas": (0.9, 0.999), "weight_decay": 0.0, "max_grad_norm": 1.0, "ema_decay": None}
    return OptimizerSettings(**plain | changes)


def network():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2)


def learn(module, trainer, steps):
    for number in range(steps):
        x = torch.full((4, 3), 1.0 + number)
        module(x).square().mean().backward()
        trainer.step()


def test_first_adamw_step_by_hand():
    # Adam's first step is lr * sign(gradient); decoupled decay first shrinks the weight by lr * decay
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, 2.0)
    trainer = Trainer(module, settings(weight_decay=0.5))
    module(torch.ones(1, 1)).sum().backward()
    trainer.step()
    assert float(module.weight.detach()) == pytest.approx(2.0 * (1 - 0.05) - 0.1, abs=1e-6)


def test_the_learning_rate_of_a_step_is_the_one_that_was_set_before_it():
    # a constant gradient: Adam's steps are lr * sign(gradient) each, so 2 - 0.1 - 0.025 - 0
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, 2.0)
    trainer, reached = Trainer(module, settings()), []
    assert trainer.learning_rate == 0.1
    for rate in (0.1, 0.025, 0.0):
        trainer.learning_rate = rate
        assert trainer.learning_rate == rate
        module(torch.ones(1, 1)).sum().backward()
        trainer.step()
        reached.append(float(module.weight.detach()))
    assert reached == pytest.approx([1.9, 1.875, 1.875], abs=1e-6)


def test_gradient_is_cut_to_the_norm_and_its_norm_before_is_told():
    module = torch.nn.Linear(1, 2, bias=False)
    trainer = Trainer(module, settings(max_grad_norm=1.0))
    seen = []
    trainer._optimizer.register_step_pre_hook(lambda *_: seen.append(module.weight.grad.clone()))
    (module.weight * torch.tensor([[30.0], [40.0]])).sum().backward()
    assert trainer.step() == pytest.approx(50.0)
    torch.testing.assert_close(seen[0], torch.tensor([[0.6], [0.8]]), rtol=1e-4, atol=0)


def test_average_follows_its_law():
    module = network()
    trainer = Trainer(module, settings(ema_decay=0.75))
    before = trainer.weights()["weight"]
    learn(module, trainer, 1)
    expected = 0.75 * before + 0.25 * trainer.weights()["weight"]
    torch.testing.assert_close(trainer.evaluation_weights()["weight"], expected)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_stored_trainer_goes_on_bit_for_bit(ema_decay):
    straight = network()
    first = Trainer(straight, settings(ema_decay=ema_decay))
    learn(straight, first, 2)
    stored_weights, stored_state = first.weights(), {name: t.clone() for name, t in first.state().items()}
    learn(straight, first, 2)

    resumed = network()
    with torch.no_grad():
        for name, parameter in resumed.named_parameters():
            parameter.copy_(stored_weights[name])
    second = Trainer(resumed, settings(ema_decay=ema_decay))
    second.load_state(stored_state, num_steps=2)
    learn(resumed, second, 2)
    for name, weight in first.evaluation_weights().items():
        assert torch.equal(weight, second.evaluation_weights()[name])
    assert second.num_steps == 4


def test_without_moments_a_resumed_trainer_would_differ():
    straight = network()
    first = Trainer(straight, settings())
    learn(straight, first, 2)
    weights = first.weights()
    learn(straight, first, 1)
    fresh = network()
    fresh.load_state_dict(weights)
    learn(fresh, Trainer(fresh, settings()), 1)
    assert not torch.equal(fresh.weight, straight.weight)


def test_a_gradient_that_is_no_number_takes_no_step():
    module = network()
    trainer = Trainer(module, settings())
    before = trainer.weights()
    (module.weight * float("nan")).sum().backward()
    with pytest.raises(FloatingPointError, match="must be finite"):
        trainer.step()
    assert all(torch.equal(before[name], weight) for name, weight in trainer.weights().items())


def test_the_state_of_another_network_is_refused():
    trainer = Trainer(network(), settings())
    with pytest.raises(ValueError, match="must fit the network"):
        trainer.load_state({"exp_avg.other": torch.zeros(1)}, num_steps=1)


def test_a_frozen_network_is_refused():
    module = network().requires_grad_(False)
    with pytest.raises(ValueError, match="Unfreeze the policy"):
        Trainer(module, settings())
