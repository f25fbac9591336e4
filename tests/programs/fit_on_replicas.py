"""Fits a model under a user's MirroredStrategy with the PR-AUC callback, then trains beside it.

Arguments: the records, a run folder. Finds the last epoch's score as the callback has it and as the
weights give it, the learning rates of the epochs, and how many epochs `cloudtf.train` did.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import tensorflow as tf

import cloudtf
from cloudtf.evaluation import pr_auc

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
devices = [device.name for device in tf.config.list_logical_devices("CPU")]
records_dir, run_dir = sys.argv[1:]
data = cloudtf.open_dataset(records_dir)
val, train = data.batches("val", 12), data.batches("train", 8, training=True)
with tf.distribute.MirroredStrategy(devices).scope():
    model = cloudtf.build_model("tiny", len(data.classes), data.image_shape)
    model.compile(tf.keras.optimizers.Adam(1e-3), "binary_crossentropy")
judge = cloudtf.PrAucCallback(val, data.classes, run_dir=run_dir, plateau_patience=1)
model.fit(train, steps_per_epoch=6, epochs=3, verbose=0, callbacks=[judge])
labels = np.concatenate([np.asarray(batch[1]) for batch in val])
# Each replica has batch-norm averages of its own; what is judged is their mean, as it is saved.
alone = cloudtf.build_model("tiny", len(data.classes), data.image_shape)
alone.set_weights(model.get_weights())
scores = alone.predict(val.map(lambda images, *_: images), verbose=0)
true_score = pr_auc.score(labels, scores, data.classes).mean_pr_auc
result = cloudtf.train(
    cloudtf.TrainConfig(
        data_dir=records_dir,
        run_dir=f"{run_dir}-train",
        model="tiny",
        weights="none",
        epochs=1,
        batch_size=8,
        strategy="mirrored",
        sync_batch_norm=True,
    )
)
model.fit(train, steps_per_epoch=6, verbose=0)
found = {
    "measured": judge.rows[-1]["val_pr_auc_mean"],
    "true": true_score,
    "rates": [row["learning_rate"] for row in judge.rows],
    "epochs": len(result.history),
}
print(json.dumps(found))
