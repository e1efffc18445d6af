/** The code with a guard taken out: a promise that nothing proves, unless an assertion fails. */
export interface Mutant {
  name: string
  file: string
  /** Stands in the file exactly once. */
  from: string
  to: string
  /** The tests that must notice; the simulation where nothing is named. */
  tests?: string[]
}

export const simulation = ['test/simulation.test.ts']
const worker = ['test/worker.test.ts']
const uploads = ['test/uploads.test.ts']

export const MUTANTS: Mutant[] = [
  // Submission
  {
    name: 'a new record overwrites one that is there',
    file: 'api/records.ts',
    from: "ConditionExpression: 'attribute_not_exists(imageId)',",
    to: '',
  },
  {
    name: 'a repeated submission does not tell the sweeper that it is under way',
    file: 'api/records.ts',
    from: 'if (waiting !== undefined) return true',
    to: '',
  },
  {
    name: 'an idempotency key may be claimed by everybody',
    file: 'api/records.ts',
    from: "ConditionExpression: 'attribute_not_exists(imageId) OR expiresAt <= :now',",
    to: '',
  },
  {
    name: 'the job is sent before the original is stored',
    file: 'api/submit.ts',
    from: '  if (waits) {\n',
    to: '  if (waits) {\n    await sendJob(deps, { version: 1, imageId, epoch: 1 })\n',
  },
  {
    name: 'the 202 does not wait for the job',
    file: 'api/submit.ts',
    from: '    await sendJob(deps, { version: 1, imageId, epoch: 1 })\n',
    to: '',
  },
  {
    name: 'a key of one announcement fits another',
    file: 'api/submit.ts',
    from: "JSON.stringify(['upload', contentType, bytes, filename, analyses])",
    to: "JSON.stringify(['upload'])",
    tests: uploads,
  },
  {
    name: 'a repeated submission brings back what is deleted meanwhile',
    file: 'api/submit.ts',
    from: "if (repeated && (await statusOf(deps, imageId)) === 'deleted') {",
    to: 'if (false) {',
    tests: ['test/idempotency.test.ts'],
  },
  {
    name: 'an idempotency key does not outlive the trace of its deleted image',
    file: 'sweeper/sweep.ts',
    from: 'if (deleted.data.keyHash !== undefined) await closeIdempotencyKey',
    to: 'if (false) await closeIdempotencyKey',
    tests: ['test/idempotency.test.ts'],
  },
  {
    name: 'a form outlives the record that it was given for once more',
    file: 'api/records.ts',
    from: "':waiting': image.status",
    to: "':waiting': 'pending'",
    tests: uploads,
  },
  // Originals in memory
  {
    name: 'originals are fetched without a share',
    file: 'worker/process-image.ts',
    from: '    image.original.bytes,\n    async () => {',
    to: '    0,\n    async () => {',
    tests: uploads,
  },
  {
    name: 'the wait for a share outlasts the batch',
    file: 'worker/process-image.ts',
    from: '    { signal: time.signal },\n  )\n  const { contentType',
    to: '  )\n  const { contentType',
    tests: uploads,
  },
  {
    name: 'a larger object than announced is read',
    file: 'worker/process-image.ts',
    from: 'ContentLength > limits.most',
    to: 'ContentLength < 0',
    tests: uploads,
  },
  // Claim, lease, commit
  {
    name: 'a job of a run before may claim',
    file: 'shared/records.ts',
    from: "'epoch = :epoch AND (#status",
    to: "':epoch = :epoch AND (#status",
    tests: worker,
  },
  {
    name: 'a lease keeps nobody out',
    file: 'shared/records.ts',
    from: '(leaseUntil < :now OR',
    to: '(:now = :now OR',
    tests: worker,
  },
  {
    name: 'a lease never runs out',
    file: 'shared/records.ts',
    from: '(leaseUntil < :now OR',
    to: '(leaseUntil < :epoch OR',
  },
  {
    name: 'a lease ends before its worker does',
    file: 'worker/process-image.ts',
    from: 'deadline - deps.elapsed() + CLOCK_SKEW_MS',
    to: 'deadline - deps.elapsed() - 59_000',
    tests: worker,
  },
  {
    name: 'a worker commits without holding the lease',
    file: 'worker/process-image.ts',
    from: "outcome, {\n    condition: '#status = :processing AND leaseId = :mine'",
    to: "outcome, {\n    condition: ':processing = :processing AND :mine = :mine'",
  },
  {
    name: 'a commit whose answer was lost is not recognised',
    file: 'shared/records.ts',
    from: '})) ?? (await getImage(records, imageId))\n  return image',
    to: '}))\n  return image',
  },
  {
    name: 'attempts are not counted',
    file: 'worker/process-image.ts',
    from: 'if (image.attempts - (image.throttled ?? 0) > deps.maxAttempts) {',
    to: 'if (image.attempts < 0) {',
    // In the simulation the sweeper gives such an image up as well.
    tests: worker,
  },
  {
    name: 'trouble with S3 is taken for a missing original',
    file: 'worker/process-image.ts',
    from: 'if (error instanceof NoSuchKey) return undefined\n    throw error',
    to: 'return undefined',
  },
  {
    name: 'a verdict is tried again',
    file: 'worker/process-image.ts',
    from: 'if (error instanceof Verdict) {',
    to: 'if (error instanceof SyntaxError) {',
  },
  {
    name: 'what was paid for is not kept',
    file: 'worker/process-image.ts',
    from: 'kept: keeps ? kept : {}, waitMs',
    to: 'kept: {}, waitMs',
  },
  {
    name: 'paid calls come before the pixels',
    file: 'worker/process-image.ts',
    from: '  const bytes = await takeIn(deps, image, time)\n',
    to: '  const bytes = await takeIn(deps, image, time)\n  await analyse(deps, { S3Object: { Bucket: deps.bucket, Name: image.original.key } }, image.analyses, kept, time)\n',
  },
  {
    name: 'what a worker stored for a deleted image stays, and no trace of the deletion',
    file: 'api/records.ts',
    from: '            unfinished: unfinishedShard(imageId),\n            sweepAt: sweepAt(records) + graceMs,\n            ...(labels',
    to: '            ...(labels',
  },
  {
    name: 'what is completed while it is deleted stays in the index of labels',
    file: 'api/records.ts',
    from: "'#owner = :owner AND #status = :status',",
    to: "'#owner = :owner AND NOT #status = :status OR #status = :status',",
  },
  {
    name: 'a deletion does not take the image out of the index of labels',
    file: 'sweeper/sweep.ts',
    from: '    await unindexLabels(deps, deleted.data.labels)\n',
    to: '',
  },
  {
    name: 'what DynamoDB leaves of a batch is taken for written',
    file: 'shared/records.ts',
    from: '    waiting = await send(waiting)\n',
    to: '    await send(waiting)\n    waiting = []\n',
  },
  {
    name: 'the sweeper announces what cannot be found by its labels',
    file: 'sweeper/sweep.ts',
    from: '  await indexLabels(deps, image)\n',
    to: '',
    tests: ['test/labels.test.ts'],
  },
  {
    name: 'a worker acknowledges an image that cannot be found by its labels',
    file: 'worker/batch.ts',
    from: '      await indexLabels(deps, image)\n',
    to: '',
  },
  {
    name: 'results that no item holds are dropped',
    file: 'worker/process-image.ts',
    from: 'if (whole.length <= MAX_RESULT_BYTES) return { ...answers, ...outline(answers) }',
    to: 'if (whole.length > 0) return { ...answers, ...outline(answers) }',
    tests: worker,
  },
  // The batch
  {
    name: 'a failed record is acknowledged',
    file: 'worker/batch.ts',
    from: '      await postpone(deps, record, error)\n      throw error\n',
    to: '      await postpone(deps, record, error)\n',
  },
  {
    name: 'a job is done twice in one batch',
    file: 'worker/batch.ts',
    from: 'entry.run ??= settleJob(entry.job, entry.receives)',
    to: 'entry.run = settleJob(entry.job, entry.receives)',
    tests: worker,
  },
  {
    name: 'an event is not told again when its job is',
    file: 'worker/process-image.ts',
    from: '    return claim.image\n',
    to: '    return undefined\n',
    tests: worker,
  },
  {
    name: 'an event is marked as told before it is',
    file: 'worker/batch.ts',
    from: '      await tell(image)\n      await keepExhausted(deps, image)\n      await markAnnounced(deps, image)\n',
    to: '      await markAnnounced(deps, image)\n      await tell(image)\n      await keepExhausted(deps, image)\n',
  },
  {
    name: 'an entry that EventBridge refused counts as told',
    file: 'shared/event.ts',
    from: 'return entry?.EventId !== undefined ? undefined :',
    to: 'return entry !== undefined ? undefined :',
  },
  {
    name: 'a job that waits is sent again, as a new message',
    file: 'worker/batch.ts',
    from: '      await postpone(deps, record, error)\n      throw error\n',
    to: "      if (!(error instanceof Postponed)) throw error\n      await (await import('../shared/job.ts')).sendJob(deps, JSON.parse(record.body))\n",
  },
  {
    name: 'a message that is no job is delivered again and again',
    file: 'worker/batch.ts',
    from: '        return await sendDeadLetter(deps, record.body)\n',
    to: '        throw keys\n',
    tests: worker,
  },
  {
    name: 'a job that waits comes back every minute',
    file: 'worker/process-image.ts',
    from: 'longest: 3_600',
    to: 'longest: 60',
  },
  {
    name: 'a copy of a job that waits comes back at once',
    file: 'worker/process-image.ts',
    from: 'Math.max(receives, throttled)',
    to: 'receives',
    tests: worker,
  },
  {
    name: 'the sweeper sends a copy of a job that is known to wait',
    file: 'shared/records.ts',
    from: 'sweepAt: sweepAt(records, { swept, waitMs })',
    to: 'sweepAt: sweepAt(records, { swept })',
    tests: worker,
  },
  {
    name: 'the sweeper forgets how often it has sent a job',
    file: 'shared/records.ts',
    from: 'sweepAt: sweepAt(records, { swept, waitMs })',
    to: 'sweepAt: sweepAt(records, { waitMs })',
    tests: ['test/sweeper.test.ts'],
  },
  {
    name: 'the poller ends no chain of messages',
    file: 'local/poller.ts',
    from: 'chainOf(message) < LONGEST_CHAIN',
    to: 'chainOf(message) >= 0',
    tests: ['test/poller.test.ts'],
  },
  {
    name: 'throttling counts as an attempt',
    file: 'worker/process-image.ts',
    from: 'const waits = error instanceof Throttled && keeps',
    to: 'const waits = error instanceof SyntaxError',
    tests: worker,
  },
  {
    name: 'a hanging image takes its batch with it',
    file: 'worker/batch.ts',
    from: 'await Promise.race([Promise.allSettled(runs), lastMoment])',
    to: 'await Promise.allSettled(runs)',
    tests: worker,
  },
  {
    name: 'work goes on when the time is up',
    file: 'worker/batch.ts',
    from: "breakOff.abort(new OutOfTime('The batch is out of time.'))",
    to: 'undefined',
    tests: worker,
  },
  {
    name: 'a job that waits for another worker comes back before that one can be done',
    file: 'worker/process-image.ts',
    from: 'Math.max(Math.ceil(held / 1_000), pause(deps.random, receives))',
    to: 'pause(deps.random, receives)',
    tests: worker,
  },
  {
    name: 'a redriven job begins no run',
    file: 'worker/process-image.ts',
    from: '    await updateImage(deps, job.imageId, nextRun(deps, claim.image))\n',
    to: '',
  },
  {
    name: 'a job of the next run begins it, though the image was not given up',
    file: 'worker/process-image.ts',
    from: ' && isExhausted(claim.image)',
    to: '',
    tests: worker,
  },
  {
    name: 'a job begins the next run, though it is of a later one',
    file: 'worker/process-image.ts',
    from: ' && claim.image.epoch + 1 === job.epoch',
    to: '',
    tests: worker,
  },
  {
    name: 'a dead letter is the job of the run that was given up',
    file: 'shared/job.ts',
    from: 'epoch: image.epoch + 1 }',
    to: 'epoch: image.epoch }',
  },
  {
    name: 'a worker that gives an image up leaves no dead letter',
    file: 'worker/batch.ts',
    from: '      await keepExhausted(deps, image)\n',
    to: '',
  },
  {
    name: 'a worker that dies before the dead letter leaves none',
    file: 'worker/batch.ts',
    from: '      await keepExhausted(deps, image)\n      await markAnnounced(deps, image)\n',
    to: '      await markAnnounced(deps, image)\n      await keepExhausted(deps, image)\n',
    tests: [...simulation, ...worker],
  },
  {
    name: 'the sweeper that gives an image up leaves no dead letter',
    file: 'sweeper/sweep.ts',
    from: '  await keepExhausted(deps, image)\n',
    to: '',
  },
  // A new run
  {
    name: 'a retry does not begin a new epoch',
    file: 'shared/records.ts',
    from: 'epoch: image.epoch + 1,',
    to: 'epoch: image.epoch,',
  },
  {
    name: 'a retry does not wait for the event of the failure',
    file: 'shared/records.ts',
    from: ' AND attribute_not_exists(unfinished)',
    to: '',
  },
  {
    name: 'a retry begins with the attempts of the run before',
    file: 'shared/records.ts',
    from: '    attempts: 0,\n    epoch',
    to: '    epoch',
    tests: [...simulation, ...worker],
  },
  {
    name: 'a retry whose answer was lost sends no job',
    file: 'api/submit.ts',
    from: 'image = (await updateImage(deps, imageId, run)) ?? (await getImage(deps, imageId))',
    to: 'image = (await updateImage(deps, imageId, run)) ?? failed',
  },
  {
    name: 'a late acknowledgement of an event ends the next run',
    file: 'shared/records.ts',
    from: "condition: 'epoch = :epoch AND #status = :finished',",
    to: "condition: ':epoch = :epoch AND :finished = :finished',",
  },
  // The sweeper
  {
    name: 'the sweeper sends no job',
    file: 'sweeper/sweep.ts',
    from: '  await sendJob(deps, { version: 1, imageId, epoch })\n',
    to: '',
  },
  {
    name: 'the sweeper sends a job at every sweep',
    file: 'sweeper/sweep.ts',
    from: 'sweepAt: sweepAt(deps, { swept }) }',
    to: 'sweepAt: 0 }',
    tests: ['test/sweeper.test.ts'],
  },
  {
    name: 'the sweeper announces nothing',
    file: 'sweeper/sweep.ts',
    from: 'if (isFinished(image)) return announce(deps, image)',
    to: 'if (isFinished(image)) return undefined',
  },
  {
    name: 'the sweeper gives nothing up',
    file: 'sweeper/sweep.ts',
    from: 'if (attempts >= deps.maxAttempts || age > deps.giveUpMs)',
    to: 'if (attempts < 0)',
  },
  {
    name: 'the sweeper gives up what a worker has just taken up',
    file: 'sweeper/sweep.ts',
    from: "condition: 'sweepAt = :seen',",
    to: "condition: 'sweepAt <> :seen OR sweepAt = :seen',",
    tests: ['test/sweeper.test.ts'],
  },
  {
    name: 'the sweeper sends jobs for images without an original',
    file: 'sweeper/sweep.ts',
    from: 'if (image.epoch === 1 && image.attempts === 0 && !(await hasOriginal(deps, image))) {',
    to: 'if (image.attempts < 0) {',
  },
  {
    name: 'the sweeper does not look for the original before it removes a record',
    file: 'sweeper/sweep.ts',
    from: 'if (image.epoch === 1 && image.attempts === 0 && !(await hasOriginal(deps, image))) {',
    to: 'if (image.attempts === 0) {',
  },
  {
    name: 'the sweeper leaves the objects of deleted images',
    file: 'sweeper/sweep.ts',
    from: '    await deleteObjects(deps, imageId)\n',
    to: '',
  },
  {
    name: 'what the sweeper has to do is not found after a claim',
    file: 'shared/records.ts',
    from: '    add: { attempts: 1 },\n',
    to: "    add: { attempts: 1 },\n    remove: ['unfinished'],\n",
  },
  // Throttling
  {
    name: 'nothing holds the calls back',
    file: 'worker/analysis.ts',
    from: '(await deps.limiters[name].run(\n          () => onLiveConnection(() => ask(deps, name, image, time)),\n          isThrottling,\n          time.until,\n        ))',
    to: '(await ask(deps, name, image, time))',
    tests: ['test/backlog.test.ts'],
  },
  {
    name: 'all operations share the quota of one',
    file: 'worker/analysis.ts',
    from: 'deps.limiters[name].run',
    to: 'deps.limiters.labels.run',
    tests: ['test/backlog.test.ts'],
  },
]
