import { ANSWERS, type AnalysisName, paidAnalyses } from '../../shared/image.ts'
import { emotionTerm, FACES } from '../../shared/labels.ts'
import type { EventDetail } from '../../shared/messages.ts'
import { folded, ownerNames, partitionsOf } from '../../shared/table.ts'
import { labelId } from './dynamo.ts'
import { EXPECTED, type Run, type Scenario, type Submission } from './scenario.ts'
import { SENT } from './services.ts'
import type { Settings } from './world.ts'

/**
 * The longest from a 202 to the announced ending, in milliseconds (docs/nothing-is-lost.md). Once nothing goes wrong any
 * more, the next look at the image is the one that ends it: by its job, after the longest pause; and the sweeper never
 * lets pass more time before a look than has passed since the last sign of life, and SWEEP_AFTER.
 *
 * @param lastFault milliseconds from the 202 to the last fault; 0 where there is none
 */
export function bound(lastFault: number, settings: Settings): number {
  const { sweepAfterMs, sweepEveryMs, pauseMs, timeoutMs } = settings
  const sweeps = Math.ceil(Math.log2(1 + lastFault / sweepAfterMs)) + 1
  return 2 * lastFault + sweepAfterMs + sweeps * sweepEveryMs + pauseMs + 2 * timeoutMs
}

const DAY_MS = 86_400_000
/** Of a version 7 UUID. */
const timeOf = (imageId: string): number => Number.parseInt(imageId.replaceAll('-', '').slice(0, 12), 16)
const dayOf = (time: number): string => new Date(time).toISOString().slice(0, 10)

/** Where clients see an image, on its way: it never goes back within a run. */
const STEPS = ['pending', 'processing', 'completed', 'failed']

/** A run that is judged. */
interface Case extends Run {
  scenario: Scenario
  byId: Map<string, Submission>
  /** Notes the promise where it is not kept. */
  demand: (kept: boolean, promise: string) => void
}

/** How a run of an image ended. */
interface Outcome {
  at: number
  status: string
  code: string | undefined
  labels: unknown
  completedAt: unknown
}
/** By the id of its event, `<imageId>:<epoch>:<status>`. */
type Outcomes = Map<string, Outcome>
/** The first event of each outcome, by its id. */
type Announced = Map<string, { at: number; detail: EventDetail }>

/** @returns every promise that a run has broken, in words; nothing where it has kept them all */
export function judge(scenario: Scenario, run: Run): string[] {
  const { world, submissions, ended } = run
  const broken: string[] = []
  const demand = (kept: boolean, promise: string): void => {
    if (!kept) broken.push(promise)
  }
  const byId = new Map<string, Submission>()
  for (const submission of submissions) for (const id of submission.imageIds) byId.set(id, submission)
  const judged: Case = { ...run, scenario, byId, demand }

  if (!ended) {
    const items = [...world.dynamo.items.values()].map((item) => JSON.stringify(item).slice(0, 300))
    broken.push(`something is under way for ever: ${items.join('\n')}`)
  }
  judgeImages(judged)
  judgeQuotas(judged)
  const outcomes = judgeRecords(judged)
  const announced = judgeEvents(judged, outcomes)
  judgeEndings(judged, announced)
  judgeStrangers(judged, outcomes)
  judgeRuns(judged)
  judgeCalls(judged, outcomes)
  judgePayers(judged)
  judgeObjects(judged)
  judgeLabels(judged)
  judgeDeadLetters(judged, outcomes)
  demand(world.refusals === 0, `Lambda took ${world.refusals} jobs for a recursion`)
  demand(Date.UTC(2026, 0, 1) <= world.clock.time, 'time went backwards')
  return broken
}

/** One submission is one image, however often it was sent, and there for its owner only. */
function judgeImages({ submissions, demand }: Case): void {
  for (const [index, { imageIds, surprises }] of submissions.entries()) {
    demand(imageIds.size <= 1, `submission ${index} became ${imageIds.size} images`)
    for (const surprise of surprises) demand(false, surprise)
  }
}

/** No owner has more images than the quotas of the days allow for, by clocks that differ by a second. */
function judgeQuotas({ scenario, world, submissions, demand }: Case): void {
  const { dailyImageQuota } = world.settings
  const ofOwners = Object.groupBy(submissions.keys(), (index) => scenario.images[index]?.owner ?? 'owner')
  for (const [owner, indexes = []] of Object.entries(ofOwners)) {
    const times = indexes.flatMap((index) => [...(submissions[index]?.imageIds ?? [])]).map(timeOf)
    const days = new Set(times.flatMap((time) => [dayOf(time - 2_000), dayOf(time + 2_000)])).size
    const isCounted = dailyImageQuota > 0 && scenario.wrongClocks === undefined
    demand(!isCounted || times.length <= days * dailyImageQuota, `${times.length} images of ${owner}`)
  }
}

/** What each record went through. @returns the outcomes */
function judgeRecords({ world, byId, demand }: Case): Outcomes {
  const outcomes: Outcomes = new Map()
  const stages = new Map<string, { epoch: number; step: number; status: string }>()
  for (const { imageId, item, at } of world.seen) {
    // Records only: other items have a kind before a #.
    if (imageId.includes('#')) continue
    if (item === undefined || item['status'] === 'deleted') {
      stages.delete(imageId)
      continue
    }
    const epoch = Number(item['epoch'])
    const status = String(item['status'])
    const step = Math.min(STEPS.indexOf(status), 2)
    const before = stages.get(imageId)
    demand(
      before === undefined ||
        epoch === before.epoch + 1 ||
        (epoch === before.epoch && (step > before.step || status === before.status)),
      `${imageId} went from ${before?.status} ${before?.epoch} to ${status} ${epoch}`,
    )
    stages.set(imageId, { epoch, step, status })
    const deletedAt = byId.get(imageId)?.deletedAt
    demand(deletedAt === undefined || at <= deletedAt, `${imageId} was written to after its deletion`)
    if (step === 2) {
      const key = `${imageId}:${epoch}:${status}`
      const code = (item['failure'] as { code?: string } | undefined)?.code
      const outcome = { at, status, code, labels: item['labels'], completedAt: item['completedAt'] }
      const first = outcomes.get(key) ?? outcome
      outcomes.set(key, first)
      demand(JSON.stringify({ ...first, at }) === JSON.stringify(outcome), `${key} changed its outcome`)
    }
  }
  return outcomes
}

/** Events: of outcomes only, after their commit, always the same; and at least one of each. @returns the events */
function judgeEvents({ world, byId, demand }: Case, outcomes: Outcomes): Announced {
  const announced: Announced = new Map()
  for (const event of world.bus.events) {
    const { eventId } = event.detail
    const outcome = outcomes.get(eventId)
    demand(outcome !== undefined, `event ${eventId} has no outcome`)
    demand(outcome === undefined || outcome.at <= event.at, `event ${eventId} came before its commit`)
    const first = announced.get(eventId) ?? event
    announced.set(eventId, first)
    demand(JSON.stringify(first.detail) === JSON.stringify(event.detail), `event ${eventId} changed`)
  }
  for (const eventId of outcomes.keys()) {
    const deleted = byId.get(eventId.slice(0, 36))?.deletionAt !== undefined
    demand(deleted || announced.has(eventId), `outcome ${eventId} has no event`)
  }
  return announced
}

/** Each image that was accepted ends as its picture has it, in time; and nothing is left of the others. */
function judgeEndings(judged: Case, announced: Announced): void {
  const { scenario, world, submissions, demand } = judged
  const { settings, faults } = world
  const isOutage = (scenario.outages?.length ?? 0) + (scenario.firsts?.length ?? 0) > 0
  for (const [index, submission] of submissions.entries()) {
    const [imageId] = submission.imageIds
    if (imageId === undefined) continue
    const item = world.dynamo.items.get(imageId)
    if (submission.acceptedAt === undefined) {
      // A form that nothing was ever posted with.
      demand(item === undefined, `${imageId} still waits for its upload`)
      continue
    }
    if (submission.deletedAt !== undefined) {
      demand(item === undefined, `${imageId} is there after its deletion`)
      continue
    }
    if (hasExpired(world, imageId)) {
      demand(item === undefined, `${imageId} is there after its time`)
      continue
    }
    if (item?.['status'] === 'completed') judgeResults(judged, imageId, item)
    const failure = item?.['failure'] as { code: string } | undefined
    const ending = item?.['status'] === 'failed' ? failure?.code : item?.['status']
    const expected = EXPECTED[submission.picture]
    // One fault can cost an image one attempt at most; only trouble that lasts exhausts them all.
    const mayExhaust = isOutage || faults >= settings.maxAttempts
    demand(
      ending === expected || (ending === 'EXHAUSTED' && mayExhaust),
      `submission ${index} (${submission.picture}) ended as ${ending} instead of ${expected}`,
    )
    const first = [...announced.keys()].find((eventId) => eventId.startsWith(`${imageId}:1:`))
    const endedAt = first === undefined ? undefined : announced.get(first)?.at
    const { acceptedAt } = submission
    const longest = bound(Math.max(0, world.lastFaultAt - acceptedAt), settings)
    if (endedAt !== undefined && scenario.quota === undefined) {
      demand(
        endedAt - acceptedAt <= longest,
        `${imageId} took ${(endedAt - acceptedAt) / 1000} s, bound ${longest / 1000} s`,
      )
    }
  }
}

/** A completed image has what was asked for. */
function judgeResults({ demand }: Case, imageId: string, item: Record<string, unknown>): void {
  const analyses = item['analyses'] as AnalysisName[]
  const skipped = item['facesSkipped'] === true
  demand(!skipped || analyses.includes('faces-when-person'), `${imageId} was to have faces`)
  demand(!skipped || !(item['labels'] as string[]).includes('Person'), `${imageId} shows a person`)
  for (const name of paidAnalyses(analyses)) {
    if (name === 'faces' && skipped) continue
    const whole = Object.keys(ANSWERS[name].shape).every((key) => item[key] !== undefined)
    demand(whole, `${imageId} has no ${name}`)
  }
}

/** Whether DynamoDB has deleted the record when its time was over. */
function hasExpired(world: Run['world'], imageId: string): boolean {
  const { retentionDays } = world.settings
  return (
    retentionDays > 0 && world.has('expiry') && world.clock.time > timeOf(imageId) + retentionDays * DAY_MS
  )
}

/** What was refused for good, or never asked for, has no ending. */
function judgeStrangers({ submissions, demand }: Case, outcomes: Outcomes): void {
  const idsOfKeys = new Set(submissions.flatMap(({ imageIds }) => [...imageIds]))
  const undecided = submissions.filter(
    ({ answer, imageIds }) => imageIds.size === 0 && (answer ?? 500) >= 500,
  )
  const unknown = new Set(
    [...outcomes.keys()].map((key) => key.slice(0, 36)).filter((id) => !idsOfKeys.has(id)),
  )
  demand(unknown.size <= undecided.length, `${unknown.size} images ended that nobody had submitted`)
}

/** Runs begin by a retry or by a redrive only. */
function judgeRuns({ world, submissions, redrives, demand }: Case): void {
  const retries = submissions.reduce((sum, submission) => sum + submission.retries, 0)
  const runs = [...world.dynamo.items.values()].reduce(
    (sum, item) => sum + Math.max(0, Number(item['epoch'] ?? 1) - 1),
    0,
  )
  demand(runs <= retries + redrives, `${runs} runs were begun anew; ${retries} retries, ${redrives} redrives`)
}

/** Paid calls: one of each analysis for each attempt at most, and no attempt more without a fault. */
function judgeCalls({ scenario, world, submissions, byId, demand }: Case, outcomes: Outcomes): void {
  const { settings, faults } = world
  const mostCalls = (imageId: string): number => {
    const epochs = Math.max(
      1,
      ...[...outcomes.keys()].filter((id) => id.startsWith(imageId)).map((id) => Number(id.split(':')[1])),
    )
    const submission = byId.get(imageId)
    const { analyses } = (submission && scenario.images[submissions.indexOf(submission)]) ?? {}
    return epochs * (analyses?.length ?? 2) * Math.min(settings.maxAttempts, 1 + faults)
  }
  // What is sent as a JPEG of ours does not show whose it is.
  const mayBeSent = [...new Set([...world.seen.map(({ imageId }) => imageId)])].filter(
    (id) => !id.includes('#') && (byId.get(id)?.picture ?? 'odd') === 'odd',
  )
  for (const [key, paid] of world.rekognition.paid) {
    // The original, or the preview where that is not taken.
    const imageId = key.replace(/^\w+\/|\.jpg$/g, '')
    const most = key === SENT ? mayBeSent.reduce((sum, id) => sum + mostCalls(id), 0) : mostCalls(imageId)
    demand(paid <= most || scenario.quota !== undefined, `${key} cost ${paid} calls`)
    const submission = byId.get(imageId)
    if (submission !== undefined) {
      demand(
        EXPECTED[submission.picture] === 'completed',
        `${imageId} cost ${paid} calls and is ${submission.picture}`,
      )
    }
  }
}

/** Nothing is paid for twice by an owner, and nothing is had for what another one has paid. */
function judgePayers({ scenario, world, submissions, demand }: Case): void {
  const { items } = world.dynamo
  const asked = scenario.images.map(
    ({ picture, distinct, owner = 'owner', analyses = ['labels', 'faces'] }, index) => ({
      bytes: [picture, distinct ? index : '', owner].join(),
      analyses: paidAnalyses(analyses),
      ids: [...(submissions[index]?.imageIds ?? [])],
    }),
  )
  const sameRequests = Map.groupBy(asked, ({ bytes, analyses }) => [bytes, ...analyses].join())
  /** Whose bytes an item is of, and which. */
  const sentOf = (item: Record<string, unknown> | undefined): string =>
    JSON.stringify([item?.['owner'], (item?.['original'] as { sha256?: string } | undefined)?.sha256])
  const isRead = (id: string): boolean =>
    [`originals/${id}`, `previews/${id}.jpg`].some((key) => world.rekognition.paid.has(key))
  for (const [request, same] of sameRequests) {
    const ids = same.flatMap((one) => one.ids)
    const isCompleted = ids.some((id) => items.get(id)?.['status'] === 'completed')
    const isSent = request.startsWith('odd,') && world.rekognition.paid.has(SENT)
    // Also by one whose client had no answer, and which the sweeper has found.
    const sent = new Set(ids.map((id) => sentOf(items.get(id))))
    // Results of more analyses count for fewer.
    const payers = asked.filter(
      ({ bytes, analyses }) =>
        bytes === same[0]?.bytes && same[0].analyses.every((name) => analyses.includes(name)),
    )
    const payerIds = payers.flatMap((one) => one.ids)
    const paid =
      isSent || payerIds.some(isRead) || [...items].some(([id, item]) => sent.has(sentOf(item)) && isRead(id))
    demand(!isCompleted || paid, `nobody has paid for ${request}`)
  }
}

/** Every object belongs to a record. Its trace goes with it. */
function judgeObjects({ world, demand }: Case): void {
  const { items } = world.dynamo
  for (const key of world.s3.objects.keys()) {
    const imageId = /^[a-z]+\/([0-9a-f-]{36})/.exec(key)?.[1] ?? ''
    demand(items.has(imageId), `${key} belongs to nobody`)
  }
  for (const item of items.values()) {
    demand(item['status'] !== 'deleted', `the trace of the deleted ${item['imageId']} stays`)
    if (item['status'] !== 'completed') continue
    for (const part of ['thumbnail', 'preview']) {
      const { key } = item[part] as { key: string }
      demand(world.s3.objects.has(key), `${key} is gone`)
    }
  }
}

/** Every completed image is found by each of its labels, and no other image is. */
function judgeLabels({ world, demand }: Case): void {
  const { items } = world.dynamo
  const found = [...items].flatMap(([key, item]) =>
    item['ownerLabel'] === undefined || item['name'] !== undefined ? [] : key,
  )
  // A name outlives its images.
  for (const { status, labels, owner } of items.values())
    for (const label of status === 'completed' ? ((labels ?? []) as string[]) : [])
      demand(
        items.has(labelId(ownerNames(String(owner)), folded(label))),
        `the name ${label} of ${owner} cannot be found`,
      )
  // Each in one of two partitions: of sure labels, and of unsure ones.
  const wanted = [...items].flatMap(([imageId, { status, labels, owner, rekognitionFaces: faces }]) =>
    status === 'completed'
      ? [...((labels ?? []) as string[]), ...termsOfFaces(faces)].map((term) =>
          partitionsOf(String(owner), term).map((partition) => labelId(partition, imageId)),
        )
      : [],
  )
  const [isFound, isWanted] = [new Set(found), new Set(wanted.flat())]
  for (const keys of wanted) {
    const times = keys.filter((key) => isFound.has(key)).length
    demand(times === 1, `${keys[0]} is in the index of labels ${times} times`)
  }
  for (const key of found) demand(isWanted.has(key), `${key} in the index of labels belongs to nobody`)
}

/** The next run of each image that was given up can be had from the dead-letter queue, and nothing more was sent there. */
function judgeDeadLetters({ world, byId, demand }: Case, outcomes: Outcomes): void {
  const givenUp = [...outcomes].flatMap(([eventId, { code }]) => (code === 'EXHAUSTED' ? [eventId] : []))
  const nextRuns = givenUp.map((eventId) => {
    const [imageId = '', epoch] = eventId.split(':')
    return JSON.stringify({ version: 1, imageId, epoch: Number(epoch) + 1 })
  })
  for (const job of nextRuns) {
    const deleted = byId.get(JSON.parse(job).imageId)?.deletionAt !== undefined
    demand(deleted || world.sqs.sentDead.includes(job), `${job} was not sent to the dead-letter queue`)
  }
  for (const body of world.sqs.sentDead)
    demand(nextRuns.includes(body), `${body} was sent to the dead-letter queue`)
  demand(world.sqs.movedDead === 0, `SQS gave up ${world.sqs.movedDead} jobs after ${world.faults} faults`)
}

/** What an image is found by for its faces: that there is one, and what each shows most. */
function termsOfFaces(faces: unknown): string[] {
  const all = (faces ?? []) as { Emotions?: { Type: string; Confidence: number }[] }[]
  const shown = all.flatMap(({ Emotions = [] }) => {
    const most = Math.max(...Emotions.map(({ Confidence }) => Confidence))
    return Emotions.filter(({ Confidence }) => Confidence === most).map(({ Type }) => Type)
  })
  return all.length > 0 ? [FACES, ...new Set(shown.map(emotionTerm))] : []
}
