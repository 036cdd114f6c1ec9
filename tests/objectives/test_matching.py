"""Distribution matching: its gradient is that of the KL divergence, its clips are those of the student in use, its networks learn in turns."""

from dataclasses import replace

import pytest
import torch

from analytic import Mixture
from clips import batch
from flipbook import systems
from flipbook.interop.folder import save_pretrained
from flipbook.long.streaming import Rollout, Streaming
from flipbook.objectives.base import build_objective
from flipbook.objectives.matching import matching_gradient
from flipbook.objectives.taught import noise_of, tell
from flipbook.process.matrix import noise_levels
from flipbook.process.path import RectifiedFlow
from flipbook.process.process import expand_t
from flipbook.samplers import SAMPLERS, sample_euler
from flipbook.train import train
from flipbook.training.recipe import parse_recipe

SEEDS = [1, 2, 3, 4]
NONE = torch.zeros(1, 1, dtype=torch.bool)


def number(*values):
    """Clips of one pixel and one frame."""
    return torch.tensor(values, dtype=torch.float64)[:, None, None, None, None]


def awake(seed=0):
    torch.manual_seed(seed)
    system = systems.build("thumb", tiny=True)
    for p in system.denoiser.parameters():
        if p.ndim > 1 and not p.any():
            p.data.normal_(std=0.1)
    return system.eval()


def objective(streaming=False, tmp_path=None, **options):
    system = awake()
    if streaming:
        save_pretrained(awake(1), tmp_path / "teacher")
        system.streaming = Streaming(chunk=2, window=2)
        options["teacher"] = str(tmp_path / "teacher")
    return build_objective("matching", system, {"steps": 3, "critic_updates": 2, "given": 0.0} | options)


def told_of(o, batch):
    return tell(o.system, o.teacher, batch, SEEDS, given=o.options.given, drop_text=o.options.drop_text)


def clips(frames=6):
    b = batch()
    video = torch.rand(len(b), 3, frames, *b.video.shape[3:], generator=torch.Generator().manual_seed(4)) * 2 - 1
    return replace(b, video=video, frame_index=torch.arange(frames).float().expand(len(b), -1))


@pytest.mark.parametrize("level", [0.2, 0.6])
def test_the_gradient_of_two_gaussians_is_that_of_their_divergence(level):
    """KL(N(a m, v) || N(a n, v)) has the gradient a^2 (m - n) / v in m, v = a^2 s^2 + sigma^2, at every x."""
    path = RectifiedFlow(3.0)
    student, teacher = (Mixture(path, number(mean), std=0.5) for mean in (1.0, -0.5))
    x0, t = student.draw(8, seed=0), torch.full((8,), level, dtype=torch.float64)
    alpha, sigma = path.alpha(t[:1]), path.sigma(t[:1])
    x = expand_t(alpha, x0) * x0 + expand_t(sigma, x0) * torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    real, fake = teacher.denoise(x, t), student.denoise(x, t)
    gradient = matching_gradient(x0, real, fake, NONE.expand(8, 1)) * (x0 - real).abs() * alpha**2 / sigma**2
    exact = alpha**2 * 1.5 / (alpha**2 * 0.25 + sigma**2)
    torch.testing.assert_close(gradient.flatten(), exact.expand(8))


def test_the_mean_gradient_is_that_of_the_divergence_from_a_mixture():
    """A student N(m, s^2) against a teacher of two modes: the mean over x of alpha^2 (fake - real) / sigma^2 against the derivative of the integral."""
    path, level, std = RectifiedFlow(), 0.4, 0.3
    t1 = torch.tensor([level], dtype=torch.float64)
    alpha, sigma = path.alpha(t1), path.sigma(t1)
    teacher = Mixture(path, number(-1.0, 1.0), std=std, shares=torch.tensor([0.3, 0.7], dtype=torch.float64))
    scale = (alpha**2 * std**2 + sigma**2).sqrt()
    mean = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    x = torch.linspace(-6, 6, 4001, dtype=torch.float64)

    def log_density(centre):
        return torch.distributions.Normal(alpha * centre, scale).log_prob(x)

    ours = log_density(mean)
    theirs = torch.logsumexp(torch.stack([log_density(m) + s.log() for m, s in zip((-1.0, 1.0), teacher.shares, strict=True)]), 0)
    divergence = torch.trapezoid(ours.exp() * (ours - theirs), x)
    (exact,) = torch.autograd.grad(divergence, mean)
    states, t = x[:, None, None, None, None], t1.expand(len(x))
    student = Mixture(path, number(mean.item()), std=std)
    real, fake = teacher.denoise(states, t), student.denoise(states, t)
    raw = matching_gradient(real + 1, real, fake, NONE.expand(len(x), 1)).flatten()                # a distance of 1 is no divisor
    found = torch.trapezoid(ours.exp().detach() * raw * alpha**2 / sigma**2, x)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-8)


def test_following_the_gradient_brings_the_students_mean_to_the_teachers():
    path, teacher = RectifiedFlow(), Mixture(RectifiedFlow(), number(-0.5), std=0.5)
    mean, g = number(1.0), torch.Generator().manual_seed(0)
    for _ in range(200):
        student = Mixture(path, mean, std=0.5)
        noise = torch.randn(64, 1, 1, 1, 1, generator=g, dtype=torch.float64)
        x0, t = mean + 0.5 * noise, 0.02 + 0.96 * torch.rand(64, generator=g, dtype=torch.float64)
        eps = torch.randn(x0.shape, generator=g, dtype=torch.float64)
        x = expand_t(path.alpha(t), x0) * x0 + expand_t(path.sigma(t), x0) * eps
        mean = mean - 0.1 * matching_gradient(x0, teacher.denoise(x, t), student.denoise(x, t), NONE.expand(64, 1)).mean(0, keepdim=True)
    assert abs(mean.item() + 0.5) < 0.02


def test_the_gradient_is_free_of_scale_and_leaves_given_frames_alone():
    g = torch.Generator().manual_seed(0)
    x0, real, fake = (torch.randn(2, 3, 4, 2, 2, generator=g) for _ in range(3))
    given = torch.tensor([[True, False, False, False], [False] * 4])
    a, b = (matching_gradient(s * x0, s * real, s * fake, given) for s in (1.0, 10.0))
    torch.testing.assert_close(a, b)
    assert not a[0, :, 0].any()
    assert a[1, :, 0].all()


def test_where_critic_and_teacher_agree_the_student_rests():
    o = objective(guidance=1.0)
    o.begin(2)
    losses = o.loss(clips(), SEEDS)
    losses.loss.sum().backward()
    assert losses.loss.max() < 1e-10                          # the rounding of two copies of one network
    assert max(p.grad.abs().max() for p in o.system.denoiser.parameters() if p.grad is not None) < 1e-6
    assert o.loss(clips(), SEEDS, t=torch.full((4,), 0.5)).loss.max() < 1e-10
    guided = objective(guidance=3.0)
    guided.begin(2)
    assert guided.loss(clips(), SEEDS).loss.max() > 1e-2


def test_the_loss_hands_its_gradient_to_the_students_clip_as_it_is(monkeypatch):
    o, b = objective(), clips()
    o.begin(2)
    made, told = [], told_of(o, b)
    original = type(o)._made

    def watched(self, *args):
        made.append(original(self, *args))
        made[-1].retain_grad()
        return made[-1]

    monkeypatch.setattr(type(o), "_made", watched)
    losses = o.loss(b, SEEDS)
    losses.loss.sum().backward()
    with torch.no_grad():
        gradient = matching_gradient(made[0], *o._opinions(made[0], told, SEEDS, losses.t), told.given)
    torch.testing.assert_close(made[0].grad, gradient / gradient[0].numel())


def test_the_networks_learn_in_turns():
    o, learned = objective(), []
    for step in range(6):
        o.begin(step)
        o.trainable().zero_grad(set_to_none=True)
        o.loss(clips(), SEEDS).loss.sum().backward()
        learned.append({name for name, part in o.trainable().items() if any(p.grad is not None and p.grad.any() for p in part.parameters())})
        assert not any(p.grad is not None for part in (o.teacher.denoiser, o.system.text_encoder) for p in part.parameters())
    assert learned == [{"critic"}, {"critic"}, {"denoiser"}] * 2


@pytest.mark.parametrize("fresh", [False, True])
def test_the_students_clips_are_those_of_its_sampler(fresh):
    o, b = objective(fresh=fresh), clips()
    told = told_of(o, b)
    between = iter([noise_of(told.z0, SEEDS, f"fresh {i}") for i in range(2)] + [torch.zeros_like(told.z0)])
    sampler = SAMPLERS[o.system.defaults["sampler"]]
    how = {"noise": lambda: next(between)} if fresh else {}
    with torch.no_grad():
        made = o._made(told, SEEDS, last=2)
        denoise = o.system.process.denoiser(o.system.denoiser, told.doors, frame_index=told.index)
        sampled = sampler(denoise, noise_of(told.z0, SEEDS, "student"), o.system.process.path, noise_levels(3, 6), **how)
    torch.testing.assert_close(made, sampled, rtol=0, atol=1e-5)


def test_a_causal_students_clips_are_those_of_a_stream(tmp_path):
    o, b = objective(streaming=True, tmp_path=tmp_path), clips()
    told, system = told_of(o, b), o.system
    rollout = Rollout(system.denoiser, {"text": told.doors}, system.streaming)
    noise = noise_of(told.z0, SEEDS, "student")
    with torch.no_grad():
        made = o._made(told, SEEDS, last=2)
        for start in range(0, 6, 2):
            part = slice(start, start + 2)
            z = sample_euler(system.process.denoiser(rollout.network("text")), noise[:, :, part], system.process.path, noise_levels(3, 2))
            torch.testing.assert_close(made[:, :, part], z, rtol=0, atol=1e-5)
            rollout.keep(z)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("last", [0, 2])
def test_gradient_flows_through_one_step_of_each_chunk_alone(streaming, last, tmp_path, monkeypatch):
    o, b = objective(streaming=streaming, tmp_path=tmp_path), clips()
    calls, kept = [], []
    o.system.denoiser.register_forward_hook(lambda net, args, out: calls.append(torch.is_grad_enabled()))
    original = Rollout.keep
    monkeypatch.setattr(Rollout, "keep", lambda self, x0: (original(self, x0), kept.append(self)))
    made = o._made(told_of(o, b), SEEDS, last)
    chunks = 3 if streaming else 1
    assert calls == ([False] * last + [True]) * chunks
    assert made.requires_grad
    assert all(not k.requires_grad and not v.requires_grad for r in kept for cache in r.caches.values() for k, v in cache._kept.values())


def test_given_frames_stay_and_are_left_out_of_both_losses(tmp_path):
    o, b = objective(given=1.0), clips()
    told = told_of(o, b)
    assert told.given.any(1).all()
    with torch.no_grad():
        made = o._made(told, SEEDS, last=2)
    here = told.given[:, None, :, None, None].expand_as(made)
    assert torch.equal(made[here], told.z0[here])
    causal = objective(streaming=True, tmp_path=tmp_path, given=1.0)
    assert not told_of(causal, b).given[:, 2:].any()


def test_the_critic_learns_the_students_clips():
    """A few updates of the critic bring its error on the student's clips down."""
    o, b = objective(), clips()
    o.begin(0)
    optimizer = torch.optim.Adam(o.critic.parameters(), 3e-3)
    errors = []
    for _ in range(8):
        loss = o.loss(b, SEEDS).loss.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.9 * errors[0]


def test_the_model_is_saved_with_the_settings_of_a_student(tmp_path):
    o = objective(steps=4)
    o.save(tmp_path / "model")
    saved = systems.load(tmp_path / "model")
    assert (saved.defaults["num_inference_steps"], saved.defaults["guidance_scale"], saved.defaults["sampler"]) == (4, 1.0, "euler")
    objective(fresh=True).save(tmp_path / "fresh")
    assert systems.load(tmp_path / "fresh").defaults["sampler"] == "euler_ancestral"
    assert o.samples(clips(), ["a red circle falls"], 0).shape == (1, 3, 6, 16, 16)
    assert all(p.requires_grad for p in o.system.denoiser.parameters())


def test_a_run_that_was_cut_between_two_turns_goes_on_bit_for_bit(tmp_path):
    save_pretrained(awake(), tmp_path / "thumb")

    def recipe(folder, steps):
        return parse_recipe({
            "init": str(tmp_path / "thumb"), "output": str(tmp_path / folder), "data": [{"world": "shapes"}], "num_workers": 0, "steps": steps,
            "objective": {"name": "matching", "steps": 2, "critic_updates": 1}, "num_frames": 2, "clip_frames": 2, "height": 16, "width": 16,
            "batch_size": 2, "schedule": "constant", "warmup": 0, "validation": {"every": 0}, "samples": {"every": 0}, "log": {"tensorboard": False},
        })  # fmt: skip

    train(recipe("whole", 4))
    train(recipe("cut", 3))
    train(recipe("cut", 4), resume=True)
    whole, cut = (systems.load(tmp_path / name / "model").denoiser.state_dict() for name in ("whole", "cut"))
    before = systems.load(tmp_path / "thumb").denoiser.state_dict()
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert any(not torch.equal(whole[key], before[key]) for key in whole)


def test_a_student_may_become_causal_by_being_told_so(tmp_path):
    save_pretrained(awake(1), tmp_path / "teacher")
    o = objective(streaming=False, teacher=str(tmp_path / "teacher"))
    assert o.system.streaming is None
    o = build_objective("matching", awake(), {"streaming": {"chunk": 2, "window": 4}, "teacher": str(tmp_path / "teacher")})
    assert o.system.streaming == Streaming(chunk=2, window=4)
    with pytest.raises(ValueError, match="Try teacher: thumb"):
        build_objective("matching", awake(), {"streaming": {"chunk": 2, "window": 4}})


@pytest.mark.parametrize(("options", "says"), [({"steps": 0}, "Try steps=4"), ({"critics": 2}, r"no option \['critics'\]")])
def test_options_that_cannot_work_say_what_to_try(options, says):
    with pytest.raises(ValueError, match=says):
        objective(**options)


def test_a_causal_student_needs_a_teacher_that_sees_whole_clips(tmp_path):
    system = awake()
    system.streaming = Streaming(chunk=2, window=2)
    with pytest.raises(ValueError, match="Try teacher: thumb"):
        build_objective("matching", system, {})
    save_pretrained(system, tmp_path / "causal")
    with pytest.raises(ValueError, match="is causal itself"):
        build_objective("matching", system, {"teacher": str(tmp_path / "causal")})
