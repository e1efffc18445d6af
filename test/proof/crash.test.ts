import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { EventDetail } from '../../shared/messages.ts'
import type { ShownImage } from '../context.ts'
import { type History, judge, passes, type Stored, type Submission, summary } from '../crash.ts'

it('npm run crash: kill -9 under load loses nothing, leaves nothing stuck, contradicts nothing', async () => {
  const TMPDIR = mkdtempSync(join(tmpdir(), 'image-analyzer-crash-test-'))
  const program = join(import.meta.dirname, '../crash.ts')
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', program, '--seconds', '4'],
    { env: { ...process.env, TMPDIR } },
  )
  try {
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk
      })
    }
    const code = await new Promise((resolve) => child.once('close', resolve))
    expect(output.trim().split('\n').at(-1), output).toMatch(
      /^[1-9]\d* kills, [1-9]\d* accepted, \d+ completed, \d+ failed, \d+ deleted, 0 lost, 0 stuck, 0 contradictory events, 0 other violations, \d+ orphans$/,
    )
    expect(code).toBe(0)
    expect(readdirSync(TMPDIR)).toEqual([])
  } finally {
    child.kill()
    rmSync(TMPDIR, { recursive: true, force: true })
  }
})

// The judge is not blind: in a history where all is well, one thing after another goes wrong.

const id = (number: number): string => `01a2065f-0000-7000-8000-00000000000${number}`
const GOOD = id(1)
const BAD = id(2)
const at = '2026-11-23T00:00:00.000Z'

const original = (imageId: string) => ({
  key: `originals/${imageId}`,
  sha256: imageId.repeat(2).slice(0, 64),
})
const thumbnail = (imageId: string) => ({ key: `thumbnails/${imageId}.jpg` })
const preview = (imageId: string) => ({ key: `previews/${imageId}.jpg` })
const corrupt = { code: 'CORRUPT_IMAGE' }

function shown(imageId: string, status: string, attempts = 1): ShownImage {
  const failure = status === 'failed' ? { failure: corrupt } : {}
  const completedAt = status === 'failed' || status === 'completed' ? { completedAt: at } : {}
  return { imageId, status, attempts, ...failure, ...completedAt } as ShownImage
}

function submission(imageId: string, kind: Submission['kind'], looks: ShownImage[]): Submission {
  return {
    ...{ kind, sha256: original(imageId).sha256, idempotent: true, sent: 2, answers: [imageId, imageId] },
    looks: looks.map((image) => ({ retriesSent: 0, shown: image })),
    ...{ retries: { sent: 0, accepted: 0 }, surprises: [] },
  }
}

const event = (imageId: string, epoch: number, status: string) =>
  ({
    ...{ eventId: `${imageId}:${epoch}:${status}`, imageId, epoch, status, completedAt: at },
    ...(status === 'failed' ? { failure: corrupt } : {}),
  }) as EventDetail

interface Two extends History {
  /** A valid picture that was completed, and a corrupt one that failed, was tried again, and failed again. */
  good: { submission: Submission; record: Stored }
  bad: { submission: Submission; record: Stored }
}

function allIsWell(): Two {
  const good = {
    submission: submission(GOOD, 'valid', [
      shown(GOOD, 'pending', 0),
      shown(GOOD, 'processing'),
      shown(GOOD, 'processing', 2),
      shown(GOOD, 'completed', 2),
    ]),
    record: {
      ...{ imageId: GOOD, status: 'completed', epoch: 1, completedAt: at },
      ...{ original: original(GOOD), thumbnail: thumbnail(GOOD), preview: preview(GOOD) },
    },
  }
  const bad = {
    submission: submission(BAD, 'corrupt', [shown(BAD, 'failed')]),
    record: {
      ...{ imageId: BAD, status: 'failed', epoch: 2, completedAt: at },
      ...{ failure: corrupt, original: original(BAD) },
    },
  }
  bad.submission.retries = { sent: 1, accepted: 1 }
  bad.submission.looks.push(
    { retriesSent: 1, shown: shown(BAD, 'pending', 0) },
    { retriesSent: 1, shown: shown(BAD, 'failed') },
  )
  return {
    ...{ good, bad, submissions: [good.submission, bad.submission], records: [good.record, bad.record] },
    events: [
      event(GOOD, 1, 'completed'),
      event(GOOD, 1, 'completed'),
      event(BAD, 1, 'failed'),
      event(BAD, 2, 'failed'),
    ],
    objects: new Map([
      [original(GOOD).key, original(GOOD).sha256],
      [thumbnail(GOOD).key, 'any'],
      [preview(GOOD).key, 'any'],
      [original(BAD).key, original(BAD).sha256],
    ]),
    ...{ early: [], listed: [BAD, GOOD], mishaps: [] },
  }
}

it('the judge passes a history in which all is well, and counts it', () => {
  const judgement = judge(allIsWell())
  expect(summary(3, judgement)).toBe(
    '3 kills, 2 accepted, 1 completed, 1 failed, 0 deleted, 0 lost, 0 stuck, 0 contradictory events, 0 other violations, 0 orphans',
  )
  expect(passes(judgement)).toBe(true)
})

type Sort = 'lost' | 'stuck' | 'contradictions' | 'violations' | 'orphans' | 'open'
const look = (image: ShownImage | undefined, retriesSent = 0) => ({ retriesSent, shown: image })

/** What goes wrong, as what it is reported, of what, and how the history shows it. */
const WRONGS: [string, Sort, string, (history: Two) => unknown][] = [
  ['an accepted image that is 404', 'lost', GOOD, ({ good }) => good.submission.looks.push(look(undefined))],
  [
    'an accepted image without an ending',
    'stuck',
    GOOD,
    ({ good, events }) => {
      good.submission.looks.splice(2)
      good.record.status = 'processing'
      events.splice(0, 2)
    },
  ],
  [
    'a record without an ending whose request was never answered',
    'open',
    GOOD,
    ({ good, events }) => {
      good.submission.answers = []
      good.record.status = 'pending'
      events.splice(0, 2)
    },
  ],

  [
    'two endings of one run',
    'contradictions',
    `${GOOD}:1:failed`,
    ({ events }) => events.push(event(GOOD, 1, 'failed')),
  ],
  [
    'two details of one event',
    'contradictions',
    `${GOOD}:1:completed`,
    ({ events }) => events.push({ ...event(GOOD, 1, 'completed'), labels: ['Other'] }),
  ],
  [
    'an event that says other than the record',
    'contradictions',
    `${BAD}:2:failed`,
    ({ bad }) => Object.assign(bad.record, { completedAt: '2026-11-23T00:00:01.000Z' }),
  ],
  ['an ending without an event', 'violations', `${GOOD}:1:completed`, ({ events }) => events.splice(0, 2)],
  [
    'an ending before a retry without an event',
    'violations',
    `${BAD}:1:failed`,
    ({ events }) => events.splice(2, 1),
  ],
  [
    'an event before its commit',
    'violations',
    `${GOOD}:1:completed`,
    ({ early }) => early.push(`${GOOD}:1:completed`),
  ],
  [
    'an event of an image that is not there',
    'violations',
    `${id(3)}:1:failed`,
    ({ events }) => events.push(event(id(3), 1, 'failed')),
  ],

  [
    'a valid picture that fails',
    'violations',
    GOOD,
    ({ good }) => Object.assign(good.record, { status: 'failed', failure: { code: 'EXHAUSTED' } }),
  ],
  [
    'a wrong failure code',
    'violations',
    BAD,
    ({ bad }) => Object.assign(bad.record, { failure: { code: 'IMAGE_TOO_SMALL' } }),
  ],
  ['a run too many', 'violations', BAD, ({ bad }) => Object.assign(bad.record, { epoch: 3 })],
  ['a missing thumbnail', 'violations', GOOD, ({ objects }) => objects.delete(thumbnail(GOOD).key)],
  ['a missing preview', 'violations', GOOD, ({ objects }) => objects.delete(preview(GOOD).key)],
  ['a missing original', 'violations', BAD, ({ objects }) => objects.delete(original(BAD).key)],
  [
    'an original with other bytes',
    'violations',
    GOOD,
    ({ objects }) => objects.set(original(GOOD).key, 'other'),
  ],
  ['a record that is not listed', 'violations', GOOD, ({ listed }) => listed.pop()],
  ['a record that is listed twice', 'violations', GOOD, ({ listed }) => listed.push(GOOD)],
  ['a listed image without a record', 'violations', id(3), ({ listed }) => listed.push(id(3))],
  ['a record that nobody submitted', 'violations', GOOD, ({ submissions }) => submissions.shift()],
  [
    'two images for one idempotency key',
    'violations',
    GOOD,
    ({ good }) => good.submission.answers.push(id(3)),
  ],
  [
    'two records for one idempotency key',
    'violations',
    GOOD,
    ({ good, records }) => records.push({ ...good.record, imageId: id(3) }),
  ],
  [
    'a deleted image that is still shown',
    'violations',
    GOOD,
    ({ good }) => Object.assign(good.submission, { deletion: 'answered' }),
  ],
  [
    'an answer outside the contract',
    'violations',
    GOOD,
    ({ good }) => good.submission.surprises.push('POST was answered with 500'),
  ],
  ['a process that ends by itself', 'violations', '', ({ mishaps }) => mishaps.push('exit 1')],

  [
    'processing that becomes pending',
    'violations',
    GOOD,
    ({ good }) => good.submission.looks.splice(2, 1, look(shown(GOOD, 'pending', 1))),
  ],
  [
    'attempts that become fewer',
    'violations',
    GOOD,
    ({ good }) => good.submission.looks.splice(2, 1, look(shown(GOOD, 'processing', 0))),
  ],
  [
    'an ending that is taken back',
    'violations',
    GOOD,
    ({ good }) => good.submission.looks.splice(1, 0, look(shown(GOOD, 'completed', 2))),
  ],
  [
    'an ending that changes',
    'violations',
    GOOD,
    ({ good }) => good.submission.looks.push(look(shown(GOOD, 'completed', 3))),
  ],
  [
    'a retry that nobody asked for',
    'violations',
    BAD,
    ({ bad }) => bad.submission.looks.splice(1, 1, look(shown(BAD, 'pending', 0))),
  ],
  [
    'an image that is away for a moment',
    'violations',
    GOOD,
    ({ good }) => good.submission.looks.splice(1, 0, look(undefined)),
  ],

  [
    'an object of a request that was never answered',
    'orphans',
    original(id(3)).key,
    ({ objects }) => objects.set(original(id(3)).key, 'any'),
  ],
  [
    'an object of a deleted image',
    'orphans',
    thumbnail(BAD).key,
    ({ bad, records, listed, objects }) => {
      Object.assign(bad.submission, { deletion: 'answered' }).looks.push(look(undefined, 1))
      records.pop()
      listed.shift()
      objects.delete(original(BAD).key)
      objects.set(thumbnail(BAD).key, 'any')
    },
  ],
]

it.each(WRONGS)('the judge reports %s', (_, sort, about, spoil) => {
  const history = allIsWell()
  spoil(history)
  const judgement = judge(history)
  expect(judgement[sort].map((finding) => finding.id)).toContain(about)
  // What was not promised is counted, and does not fail a run.
  expect(passes(judgement)).toBe(sort === 'orphans' || sort === 'open')
})

it('the judge lets a request that was never answered leave a failed record without its original', () => {
  const history = allIsWell()
  const { submission: unheard, record } = history.bad
  Object.assign(unheard, { answers: [], looks: [], retries: { sent: 0, accepted: 0 } })
  Object.assign(record, { epoch: 1, failure: { code: 'ORIGINAL_MISSING' } })
  history.events.splice(2, 2, {
    ...event(BAD, 1, 'failed'),
    failure: { code: 'ORIGINAL_MISSING' },
  } as EventDetail)
  history.objects.delete(original(BAD).key)
  expect(judge(history)).toMatchObject({
    accepted: 1,
    failed: 0,
    stuck: [],
    violations: [],
    contradictions: [],
  })
})
