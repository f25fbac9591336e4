import json
import math

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.errors import UserError
from cloudtf.model import rectified_adam
from cloudtf.model.choices import OPTIMIZERS
from cloudtf.model.optimizers import effective_learning_rate, make_optimizer

SHAPES = [(7, 5), (11,), (3, 3, 4, 2)]


class PlainBase(rectified_adam.FusedUpdate, rectified_adam.PlainRectifiedAdam):
    """RAdam as it is where tensorflow-addons is missing."""


def radam(base, learning_rate=1e-2, total_steps=60, warmup_proportion=0.1, min_lr=1e-4):
    """RAdam of this stack (`own`), or as where tensorflow-addons is missing (`plain`)."""
    optimizer = make_optimizer(
        "radam", learning_rate, total_steps, warmup_proportion=warmup_proportion, min_lr=min_lr
    )
    return PlainBase(**optimizer.get_config()) if base == "plain" else optimizer


both_bases = pytest.mark.parametrize("base", ["own", "plain"])


def tfa_radam(learning_rate, **settings):
    tfa = pytest.importorskip("tensorflow_addons")
    return tfa.optimizers.RectifiedAdam(learning_rate, **settings)


def trajectory(optimizer, steps, rates=None, sparse=False):
    """All variables after each of `steps` updates with gradients of many magnitudes."""
    generator = np.random.default_rng(1)
    variables = [tf.Variable(generator.normal(size=s).astype(np.float32)) for s in SHAPES]

    @tf.function
    def update(gradients):
        if sparse:
            rows = tf.constant([0, 2])
            gradients = [tf.IndexedSlices(tf.gather(g, rows), rows, tf.shape(g)) for g in gradients]
        optimizer.apply_gradients(zip(gradients, variables))

    values = []
    for step in range(steps):
        if rates and step in rates:
            optimizer.learning_rate = rates[step]
        scales = 10.0 ** generator.integers(-6, 3, len(SHAPES))
        update(
            [
                tf.constant((scale * generator.normal(size=s)).astype(np.float32))
                for scale, s in zip(scales, SHAPES)
            ]
        )
        values.append(np.concatenate([v.numpy().ravel() for v in variables]))
    return np.stack(values)


def test_radam_is_a_tfa_optimizer_where_there_is_tensorflow_addons():
    tfa = pytest.importorskip("tensorflow_addons")
    assert isinstance(radam("own"), tfa.optimizers.RectifiedAdam)


@both_bases
@pytest.mark.parametrize("warmup", [0.1, 0.5])
def test_radam_is_tfas_step_for_step(base, warmup):
    # 80 updates of a 60-step schedule: before and after the rectification begins (update 6),
    # in the warm-up, in the decay, and after the end.
    settings = {"total_steps": 60, "warmup_proportion": warmup, "min_lr": 1e-4}
    theirs = trajectory(tfa_radam(1e-2, **settings), 80)
    ours = trajectory(radam(base, 1e-2, **settings), 80)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert np.abs(ours[-1] - ours[0]).max() > 0.05


@both_bases
def test_radam_is_tfas_for_sparse_gradients(base):
    settings = {"total_steps": 20, "min_lr": 1e-4}
    theirs = trajectory(tfa_radam(1e-2, **settings), 25, sparse=True)
    ours = trajectory(radam(base, 1e-2, **settings), 25, sparse=True)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@both_bases
def test_radam_is_the_papers(base):
    # Liu et al. 2019, algorithm 2, in float64; true on any stack.
    beta_1, beta_2, rate = 0.9, 0.999, 1e-2
    optimizer = radam(base, rate, 10, warmup_proportion=0.0, min_lr=rate)
    variable = tf.Variable(np.float64([1.0, -2.0]))
    x, m, v = variable.numpy(), np.zeros(2), np.zeros(2)
    rho_inf = 2 / (1 - beta_2) - 1
    generator = np.random.default_rng(2)
    for t in range(1, 21):
        g = generator.normal(size=2)
        optimizer.apply_gradients([(tf.constant(g), variable)])
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
        rho = rho_inf - 2 * t * beta_2**t / (1 - beta_2**t)
        step = m / (1 - beta_1**t)
        if rho >= 5:
            r = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
            step *= math.sqrt(r) / (np.sqrt(v / (1 - beta_2**t)) + 1e-7)
        x = x - rate * step
        np.testing.assert_allclose(variable, x, rtol=0, atol=1e-6)


@both_bases
def test_radam_refuses_half_precision_variables(base):
    with pytest.raises(TypeError, match="float32 and float64, not bfloat16"):
        radam(base).apply_gradients(
            [(tf.ones([3], tf.bfloat16), tf.Variable(tf.ones([3], tf.bfloat16)))]
        )


@both_bases
def test_compiled_by_xla_radam_moves_the_same(base):
    def moved(jit_compile):
        variables = [tf.Variable(tf.ones(s)) for s in SHAPES]
        optimizer = radam(base)
        optimizer.iterations  # noqa: B018 - made outside the compiled function
        optimizer._create_all_weights(variables)

        @tf.function(jit_compile=jit_compile)
        def update(scale):
            gradients = [scale * tf.range(tf.size(v), dtype=tf.float32) for v in variables]
            gradients = [tf.reshape(g, v.shape) - 0.5 for g, v in zip(gradients, variables)]
            optimizer.apply_gradients(zip(gradients, variables))

        for step in range(10):
            update(tf.constant(0.01 * step))
        assert int(optimizer.iterations) == 10
        return np.concatenate([v.numpy().ravel() for v in variables])

    plain = moved(False)
    np.testing.assert_allclose(moved(True), plain, rtol=0, atol=1e-6)
    assert np.abs(plain - 1).max() > 1e-3


def ten_steps(optimizer, variable, scaled):
    """Moves a variable towards 0.3, with its loss scaled or not; gives what has moved it."""
    if scaled:
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    for _ in range(10):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(variable - 0.3))
            loss = optimizer.get_scaled_loss(loss) if scaled else loss
        found = tape.gradient(loss, [variable])
        found = optimizer.get_unscaled_gradients(found) if scaled else found
        optimizer.apply_gradients(zip(found, [variable]))
    return optimizer


@both_bases
def test_with_loss_scaling_radam_moves_the_same(base):
    def moved(scaled):
        variable = tf.Variable([1.0, -2.0])
        optimizer = radam(base)
        optimizer = ten_steps(optimizer, variable, scaled)
        return variable.numpy(), effective_learning_rate(optimizer)

    np.testing.assert_allclose(moved(True)[0], moved(False)[0], rtol=1e-6)
    assert moved(True)[1] == moved(False)[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_made_from_its_config_goes_on_alike(name):
    settings = {"warmup_proportion": 0.3, "min_lr": 1e-3}
    optimizer = make_optimizer(name, 1e-2, 20, **settings)
    config = json.loads(json.dumps(tf.keras.optimizers.serialize(optimizer)))
    twin = tf.keras.optimizers.deserialize(config)
    assert type(twin) is type(optimizer)
    np.testing.assert_array_equal(trajectory(twin, 25), trajectory(optimizer, 25))


def test_a_radam_checkpoint_loads_with_and_without_tensorflow_addons(tmp_path):
    def stepped(optimizer, variable, steps):
        for _ in range(steps):
            optimizer.apply_gradients([(tf.constant([0.5, -0.1]), variable)])

    def names(optimizer):
        return sorted(w.name.split("/")[-1].split(":")[0] for w in optimizer.weights)

    for first, second in [("own", "plain"), ("plain", "own")]:
        variable = tf.Variable([1.0, 2.0])
        saved = radam(first)
        stepped(saved, variable, 8)
        path = tf.train.Checkpoint(optimizer=saved, variable=variable).write(str(tmp_path / first))
        other, restored = tf.Variable([0.0, 0.0]), radam(second)
        restored._create_all_weights([other])
        status = tf.train.Checkpoint(optimizer=restored, variable=other).read(path)
        status.assert_consumed()
        status.assert_existing_objects_matched()
        assert names(restored) == names(saved)
        stepped(saved, variable, 5)
        stepped(restored, other, 5)
        np.testing.assert_array_equal(other, variable)


def test_radam_without_tensorflow_addons_refuses_what_it_lacks():
    with pytest.raises(ValueError, match="amsgrad and weight_decay"):
        PlainBase(weight_decay=0.1)


@both_bases
def test_radam_updates_each_variable_with_one_op(base):
    variables = [tf.Variable(tf.ones(s)) for s in SHAPES]
    optimizer = radam(base)

    @tf.function
    def update():
        optimizer.apply_gradients([(tf.ones(s), v) for s, v in zip(SHAPES, variables)])

    operations = update.get_concrete_function().graph.get_operations()
    assert [op.type for op in operations].count("ResourceApplyAdam") == len(SHAPES)


@both_bases
def test_radam_passes_the_numerics_checker(base):
    tf.debugging.enable_check_numerics()
    try:
        values = trajectory(radam(base, total_steps=10), 8)
    finally:
        tf.debugging.disable_check_numerics()
    assert np.isfinite(values).all()


def test_adamw_is_the_papers_and_spares_vectors():
    # Loshchilov & Hutter 2019, algorithm 2, in float64, with the rate in effect as its eta alpha.
    beta_1, beta_2, rate, decay = 0.9, 0.999, 1e-2, 0.3
    optimizer = make_optimizer(
        "adamw", rate, 20, warmup_proportion=0.25, min_lr=1e-3, weight_decay=decay
    )
    generator = np.random.default_rng(2)
    shapes = [(3, 2), (2,), ()]
    variables = [tf.Variable(generator.normal(size=shape)) for shape in shapes]
    values = [variable.numpy() for variable in variables]
    moments = [(np.zeros(shape), np.zeros(shape)) for shape in shapes]
    for t in range(1, 25):
        factor = t / 5 if t < 5 else max(1 - 0.9 * (t - 5) / 15, 0.1)
        gradients = [generator.normal(size=shape) for shape in shapes]
        optimizer.apply_gradients(zip(map(tf.constant, gradients), variables))
        for i, g in enumerate(gradients):
            m = beta_1 * moments[i][0] + (1 - beta_1) * g
            v = beta_2 * moments[i][1] + (1 - beta_2) * g**2
            moments[i] = m, v
            step = m / (1 - beta_1**t) / (np.sqrt(v / (1 - beta_2**t)) + 1e-7)
            step += decay * values[i] if len(shapes[i]) > 1 else 0
            values[i] = values[i] - rate * factor * step
            np.testing.assert_allclose(variables[i], values[i], rtol=0, atol=2e-6)


def test_without_decay_adamw_is_adam_and_else_decays_by_5_percent_of_the_rate():
    adam = trajectory(make_optimizer("adam", 1e-2, 30), 40)
    adamw = trajectory(make_optimizer("adamw", 1e-2, 30, weight_decay=0.0), 40)
    np.testing.assert_array_equal(adamw, adam)
    optimizer = make_optimizer("adamw", 1e-2, 1, warmup_proportion=0, min_lr=1e-2)
    variable = tf.Variable([[1.0]])
    optimizer.apply_gradients([(tf.constant([[0.0]]), variable)])
    np.testing.assert_allclose(variable, [[1 - 1e-2 * 0.05]], rtol=1e-6)


def test_adamw_decays_and_updates_with_two_fused_ops_a_kernel():
    variables = [tf.Variable(tf.ones(s)) for s in SHAPES]
    optimizer = make_optimizer("adamw", 1e-2, 10)

    @tf.function
    def update():
        optimizer.apply_gradients([(tf.ones(s), v) for s, v in zip(SHAPES, variables)])

    types = [op.type for op in update.get_concrete_function().graph.get_operations()]
    assert types.count("ResourceApplyAdam") == 3
    assert types.count("AssignSubVariableOp") == 2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_loss_scaling_an_optimizer_moves_the_same(name):
    def moved(scaled):
        variable = tf.Variable([[1.0], [-2.0]])
        optimizer = make_optimizer(
            name, 1e-2, 60, clip_norm=0.5, rate_factors={variable.ref(): 0.5}
        )
        optimizer = ten_steps(optimizer, variable, scaled)
        return variable.numpy()

    np.testing.assert_allclose(moved(True), moved(False), rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_long_gradients_are_scaled_to_the_norm_together_and_short_ones_left(name):
    def moved(scale, **settings):
        optimizer = make_optimizer(name, 1e-2, 50, warmup_proportion=0, **settings)
        variables = [tf.Variable([1.0, 2.0]), tf.Variable([[3.0]])]
        for step in range(12):
            # Alternately of norm 5 and 0.5, together.
            gradients = np.float32([3.0, 0.0, 4.0]) * (0.1 if step % 2 else scale)
            gradients = [tf.constant(gradients[:2]), tf.constant(gradients[2:, None])]
            optimizer.apply_gradients(zip(gradients, variables))
        return np.concatenate([v.numpy().ravel() for v in variables])

    np.testing.assert_allclose(moved(1.0, clip_norm=1.0), moved(0.2), rtol=1e-6)
    np.testing.assert_array_equal(moved(1.0, clip_norm=6.0), moved(1.0))
    assert np.abs(moved(1.0, clip_norm=1.0) - moved(1.0)).max() > 1e-4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_variable_with_a_rate_of_its_own_moves_as_at_that_rate(name):
    gradients = np.random.default_rng(3).normal(size=(12, 4, 2)).astype(np.float32)

    def moved(rate, factor=None):
        variable, other = tf.Variable(tf.ones([4, 2])), tf.Variable(tf.ones([4, 2]))
        factors = {} if factor is None else {variable.ref(): factor}
        optimizer = make_optimizer(name, rate, 12, rate_factors=factors)

        @tf.function
        def update(gradient):
            optimizer.apply_gradients([(gradient, variable), (gradient, other)])

        for gradient in gradients:
            update(tf.constant(gradient))
        return variable.numpy(), other.numpy()

    slow, other = moved(1e-2, 0.1)
    np.testing.assert_allclose(slow, moved(1e-3)[0], rtol=1e-5)
    np.testing.assert_array_equal(other, moved(1e-2)[0])
    np.testing.assert_array_equal(moved(1e-2, 0.0)[0], np.ones([4, 2]))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rate_rises_falls_and_stays(name):
    optimizer = make_optimizer(name, 1.0, 20, warmup_proportion=0.25, min_lr=0.1)
    rates = []
    for step in range(24):
        optimizer.iterations.assign(step)
        rates.append(effective_learning_rate(optimizer))
    expected = [t / 5 for t in range(1, 6)]
    expected += [1 - 0.9 * (t - 5) / 15 for t in range(6, 21)] + [0.1] * 4
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rate_falls_by_half_a_cosine(name):
    settings = {"warmup_proportion": 0.25, "min_lr": 0.1, "schedule": "cosine"}
    optimizer = make_optimizer(name, 1.0, 20, **settings)
    rates = []
    for step in range(24):
        optimizer.iterations.assign(step)
        rates.append(effective_learning_rate(optimizer))
    expected = [t / 5 for t in range(1, 6)]
    expected += [0.55 + 0.45 * math.cos(math.pi * (t - 5) / 15) for t in range(6, 21)] + [0.1] * 4
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("step", [0, 3, 12, 19, 30, 500])
def test_halving_the_learning_rate_halves_the_rate_in_effect_at_every_step(name, step):
    optimizer = make_optimizer(name, 1e-3, 20, min_lr=1e-5)
    optimizer.iterations.assign(step)
    before = effective_learning_rate(optimizer)
    optimizer.learning_rate = optimizer.learning_rate * 0.5
    assert effective_learning_rate(optimizer) == pytest.approx(before / 2, rel=1e-5)
    # Far below min_lr, where tfa's rate would rise.
    optimizer.learning_rate = 1e-6
    assert effective_learning_rate(optimizer) == pytest.approx(before / 1000, rel=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rate_in_effect_is_the_rate_used(name):
    # With one constant gradient of ones Adam's first step is the rate itself.
    optimizer = make_optimizer("adam", 1e-2, 10, warmup_proportion=0.5)
    variable = tf.Variable([1.0])
    expected = 1 - effective_learning_rate(optimizer)
    optimizer.apply_gradients([(tf.constant([1.0]), variable)])
    np.testing.assert_allclose(variable, [expected], rtol=1e-5)
    # A rate of zero moves nothing; a lowered rate moves less than the whole one.
    values = trajectory(make_optimizer(name, 1e-2, 10), 20, rates={10: 0.0})
    assert np.abs(values[9] - values[8]).max() > 0
    np.testing.assert_array_equal(values[9], values[19])


def test_adam_at_a_constant_rate_is_kerass():
    ours = trajectory(make_optimizer("adam", 1e-2, 10, warmup_proportion=0, min_lr=1e-2), 30)
    keras = trajectory(tf.keras.optimizers.legacy.Adam(1e-2), 30)
    np.testing.assert_array_equal(ours, keras)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_min_lr_is_a_hundredth_by_default(name):
    optimizer = make_optimizer(name, 1e-3, 10)
    optimizer.iterations.assign(10)
    assert effective_learning_rate(optimizer) == pytest.approx(1e-5, rel=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_checkpoint_keeps_the_rate_but_not_an_old_schedule(name, tmp_path):
    variable = tf.Variable([1.0, 2.0])

    def stepped(optimizer, steps):
        for _ in range(steps):
            optimizer.apply_gradients([(tf.constant([0.5, -0.1]), variable)])
        return optimizer

    old = stepped(make_optimizer(name, 1e-3, 10, warmup_proportion=0.5, min_lr=1e-4), 4)
    old.learning_rate = 5e-4
    path = tf.train.Checkpoint(optimizer=old, variable=variable).write(str(tmp_path / "c"))
    new = make_optimizer(name, 1e-3, 1000, warmup_proportion=0.0, min_lr=1e-6)
    new.iterations  # noqa: B018 - made before restoring, as in training
    status = tf.train.Checkpoint(optimizer=new, variable=variable).read(path)
    stepped(new, 1)
    status.assert_consumed()
    assert int(new.iterations) == 5
    # The plateau's rate came back; the schedule is the new one: 1 - 0.999 x 6 / 1000.
    expected = 5e-4 * (1 - (1 - 1e-3) * 6 / 1000)
    assert effective_learning_rate(new) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "sgd"}, "no optimizer 'sgd'; the optimizers are radam, adam, adamw"),
        ({"schedule": "steps"}, "schedule='steps' is not one of linear, cosine"),
        ({"weight_decay": 0.1}, "weight_decay=0.1 is for optimizer='adamw'"),
        ({"total_steps": 0}, "total_steps=0 must be an integer of at least 1"),
        ({"total_steps": 10.0}, "total_steps=10.0 must be an integer"),
        ({"total_steps": True}, "total_steps=True must be an integer"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be a number above 0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"warmup_proportion": 1.5}, "warmup_proportion=1.5"),
        ({"min_lr": 0.1}, "min_lr=0.1 must be from 0 to learning_rate=0.001"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        make_optimizer(**{"name": "radam", "learning_rate": 1e-3, "total_steps": 10} | arguments)
