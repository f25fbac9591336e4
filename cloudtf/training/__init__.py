"""A training run: from the settings to the best model, resumable at any step.

What a run is, and what happens in which order:
  train            `train`, the table of contents
  run, progress    what does not change in a run; where it stands
  stages           the head alone, then the whole network
  trainer, step    the loop over steps and epochs; one step on all replicas
  config           the settings

What is decided before the first step:
  hardware         which hardware is used, and what it does
  workers, launch  several processes, and starting them on one machine
  splits, inputs   what is trained on and what judges it; their batches
  folds            a run a fold, and what they come to together
  building         network, optimizer, judge
  own_parts        a user's own network, loss and callbacks; callback_hooks calls the latter
  compatibility    where a run refuses other settings, records or order
  label_notes      what the user should know of the labels; unused, of settings that do nothing

What is not a run:
  find_rate        the loss against the learning rate

The head on features:
  features         what the frozen body makes of the training examples, computed once
  head_fit         the head that is fitted on it

What is kept:
  checkpoints      all that a resumed run restores
  judge, patience  scores an epoch, keeps the best model, decides what follows
  weight_average   the average of the weights over steps; soup, over epochs
  results          best model and history in the run folder
  summaries        what TensorBoard shows; run_summaries, what of a run it shows once
  pr_auc_callback  the same for `model.fit`; fit_checks says early what cannot be

What may go wrong on the way:
  stopping         signals and the time limit
  sanity           numbers that are not finite

And accumulation (a batch in parts), in_flight (steps sent ahead), train_size (smaller images that
grow), batch_norm (its averages), epoch_line (what is said of an epoch), malloc (keeps freed
memory), profiling (a trace of some steps).
"""
