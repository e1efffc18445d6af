import { createHash } from 'node:crypto'
import sharp from 'sharp'
import { createDecoder, createRender, type Rendered } from '../../packages/image-guard/index.ts'
import type { AnalysisName } from '../../shared/image.ts'
import { type Point, pointsOf } from './alarms.ts'
import type { Fault } from './services.ts'
import { type Call, RULES, type Rule, type Settings, World, type WorldOptions } from './world.ts'

/** What clients, time and trouble do in one run. */
export interface Scenario {
  /** Decides what happens first of what happens at the same time, and how long each call takes. */
  seed: number
  images: {
    picture: keyof Pictures
    /** Milliseconds from the beginning. */
    at: number
    /** Whether it comes with an idempotency key, and is sent again when there is no answer. */
    key: boolean
    /** Whether its bytes are of its own, so that no results can be reused. */
    distinct?: boolean | undefined
    /** Whether its original goes to S3 by a form: so often. 0 is one that never comes. */
    posts?: number | undefined
    /** When S3 notifies of each of them, in milliseconds after it. As it likes where nothing is said. */
    told?: readonly number[] | undefined
    /** Whose it is. Where there are two, each looks also for what is the other one's. */
    owner?: Owner | undefined
    /** Whether its request is sent twice at once; then it has a key. */
    twin?: boolean | undefined
    /** Milliseconds from the 202 on. */
    deleteAfter?: number | undefined
    /** Whether its request is sent once more after that. */
    again?: boolean | undefined
    /** Whether its failure, if there is one, is followed by a retry. */
    retry?: boolean | undefined
    /** Labels and faces, unless it says otherwise. */
    analyses?: AnalysisName[] | undefined
  }[]
  /** Faults of single calls, by their number. */
  faults: { call: number; fault: Fault }[]
  /** Times in which all calls of a name fail, in milliseconds from the beginning. */
  outages?: { name: string; from: number; to: number; fault: Fault }[]
  /** Of all calls of a name, the first so many; for trouble that outlasts attempts. */
  firsts?: { name: string; from: number; count: number; fault: Fault }[]
  /** Milliseconds from the beginning at which an operator redrives the dead-letter queue. */
  redriveAt?: number | undefined
  wrongClocks?: WorldOptions['wrongClocks'] | undefined
  /** When the wall clocks of all processes are set, in milliseconds from the beginning, and by how much. */
  clockSteps?: { at: number; byMs: number }[] | undefined
  settings?: Partial<Settings> | undefined
  quota?: WorldOptions['quota']
  share?: number | undefined
}

export type Owner = 'owner' | 'other owner'

/** Pictures by what becomes of them. */
export interface Pictures {
  good: Buffer
  other: Buffer
  third: Buffer
  corrupt: Buffer
  small: Buffer
  refused: Buffer
  /** Which Rekognition refuses as it is, and takes as a JPEG of ours. */
  odd: Buffer
}

export const EXPECTED: Record<keyof Pictures, string> = {
  good: 'completed',
  other: 'completed',
  third: 'completed',
  corrupt: 'CORRUPT_IMAGE',
  small: 'IMAGE_TOO_SMALL',
  refused: 'ANALYSIS_REFUSED',
  odd: 'completed',
}

const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** The pictures, and what the worker's own decoder makes of them, once; after that it takes no time and no processor. */
export async function preparePictures(): Promise<
  { pictures: Pictures } & Pick<WorldOptions, 'render' | 'refusedByRekognition'>
> {
  const jpeg = (width: number, height: number) =>
    sharp({ create: { width, height, channels: 3, background: 'teal' } })
      .jpeg()
      .toBuffer()
  const third = await jpeg(300, 200)
  const pictures: Pictures = {
    good: await jpeg(100, 90),
    other: await jpeg(200, 100),
    third,
    corrupt: third.subarray(0, third.length - 100),
    small: await jpeg(60, 200),
    refused: await jpeg(130, 130),
    odd: await jpeg(150, 110),
  }
  const render = createRender(createDecoder())
  const results = new Map<string, PromiseSettledResult<Rendered>>()
  for (const bytes of Object.values(pictures)) {
    const [result] = await Promise.allSettled([render(bytes, 's3', { preview: true })])
    results.set(hashOf(bytes), result)
  }
  const refused = await render(pictures.refused, 's3', { preview: true })
  return {
    pictures,
    refusedByRekognition: (bytes) =>
      [pictures.refused, refused.rendition].some((picture) => picture?.equals(bytes)) ||
      bytes.subarray(0, pictures.odd.length).equals(pictures.odd),
    render: async (bytes) => {
      // What follows the end of a picture does not show. The longest, as one of them is the beginning of another.
      const [picture] = Object.values(pictures)
        .filter((known) => bytes.subarray(0, known.length).equals(known))
        .sort((a, b) => b.length - a.length)
      const result = results.get(hashOf(picture ?? bytes))
      if (result === undefined) throw new Error('a picture that is none of ours')
      if (result.status === 'rejected') throw result.reason
      return result.value
    },
  }
}

/** What happened to one submission. */
export interface Submission {
  picture: keyof Pictures
  /** Every id that the client was given. */
  imageIds: Set<string>
  /** Milliseconds since 1970 of the first 202. */
  acceptedAt?: number
  /** The last status of HTTP; undefined where no answer came. */
  answer?: number | undefined
  /** What no answer may be, in words. */
  surprises: string[]
  /** When a deletion was asked for, and when it was confirmed. */
  deletionAt?: number
  deletedAt?: number
  retries: number
}

export interface Run {
  world: World
  submissions: Submission[]
  redrives: number
  /** Whether all came to rest. */
  ended: boolean
}

const DAY_MS = 86_400_000
/** Days of virtual time after which a run is given up. */
const LIMIT_MS = 60 * DAY_MS
/** Days after which all is gone that was to go, from the moment at which it was to. */
const EXPIRY_DAYS = 7

/** Plays a scenario through, until nothing is under way any more. */
export async function play(
  scenario: Scenario,
  { pictures, render, refusedByRekognition }: Awaited<ReturnType<typeof preparePictures>>,
  log?: (line: string) => void,
  watch?: (points: Point[]) => void,
): Promise<Run> {
  const faults = new Map(scenario.faults.map(({ call, fault }) => [call, fault]))
  let begun = 0
  const faultOf = (call: Call): Fault | undefined => {
    const single = faults.get(call.number)
    if (single !== undefined) return single
    const at = call.at - begun
    const outage = scenario.outages?.find(({ name, from, to }) => named(call, name) && at >= from && at < to)
    if (outage !== undefined) return outage.fault
    return scenario.firsts?.find(
      ({ name, from, count }) =>
        call.name === name && call.occurrence >= from && call.occurrence < from + count,
    )?.fault
  }
  const world: World = new World({
    seed: scenario.seed,
    faultOf,
    render,
    refusedByRekognition,
    ...(scenario.settings === undefined ? {} : { settings: scenario.settings }),
    ...(scenario.quota === undefined ? {} : { quota: scenario.quota }),
    ...(scenario.share === undefined ? {} : { share: scenario.share }),
    ...(scenario.wrongClocks === undefined ? {} : { wrongClocks: scenario.wrongClocks }),
    without: rulesWithout(process.env['WITHOUT'] ?? ''),
    ...(log === undefined ? {} : { log }),
    ...(watch && {
      written: (service, line) => watch(pointsOf(world.clock.time, service, line)),
      measured: (point) => watch([{ at: world.clock.time, ...point }]),
    }),
  })
  begun = world.clock.time
  const submissions: Submission[] = scenario.images.map(({ picture }) => ({
    ...{ picture, imageIds: new Set<string>(), surprises: [], retries: 0 },
  }))
  let active = scenario.images.length
  scenario.images.forEach((image, index) => {
    world.clock.after(image.at, () => {
      void client(world, image, submissions[index] as Submission, pictures, index).then(() => {
        active -= 1
      })
    })
  })
  for (const { at, byMs } of scenario.clockSteps ?? []) {
    world.clock.after(at, () => {
      world.log(`the clocks are set by ${byMs} ms`)
      world.wallOffsetMs += byMs
    })
  }
  let redrives = 0
  if (scenario.redriveAt !== undefined) {
    world.clock.after(scenario.redriveAt, () => {
      redrives += world.sqs.dead.length
      world.log(`somebody redrives ${world.sqs.dead.length} messages`)
      world.sqs.redrive()
    })
  }
  const waitsFor = Math.max(scenario.redriveAt ?? 0, ...(scenario.outages ?? []).map(({ to }) => to))
  let ended = await world.clock.run(
    () => active === 0 && world.quiet && world.clock.time - begun > waitsFor,
    begun + LIMIT_MS,
  )
  const { retentionDays } = world.settings
  if (ended && retentionDays > 0) {
    const [quietAt, longest] = [world.clock.time, (retentionDays + EXPIRY_DAYS) * DAY_MS]
    ended = await world.clock.run(() => world.quiet && world.clock.time > quietAt + longest, begun + LIMIT_MS)
  }
  return { world, submissions, redrives, ended }
}

function rulesWithout(names: string): Rule[] {
  const unknown = names.split(',').filter((name) => name !== '' && !RULES.some((rule) => rule === name))
  if (unknown.length > 0) throw new Error(`There is no rule ${unknown}. There are: ${RULES.join(', ')}.`)
  return RULES.filter((rule) => names.split(',').includes(rule))
}

const named = (call: Call, name: string): boolean =>
  name.endsWith('*') ? call.name.startsWith(name.slice(0, -1)) : call.name === name

const MAX_POSTS = 5

async function client(
  world: World,
  image: Scenario['images'][number],
  submission: Submission,
  pictures: Pictures,
  index: number,
): Promise<void> {
  const { clock } = world
  const { owner = 'owner' } = image
  const hasKey = image.key || image.twin === true
  const tail = Buffer.from(image.distinct ? `image ${index}` : '')
  const bytes = Buffer.concat([pictures[image.picture], tail])
  const mine = { 'x-owner': owner, ...(hasKey ? { 'idempotency-key': `key-${index}` } : {}) }
  const say = (what: string, answer: Answer): void => {
    world.log(`client ${index}: ${what} ${answer?.status ?? 'no answer'} ${answer?.body['imageId'] ?? ''}`)
    if (world.faults === 0 && (answer?.status ?? 500) >= 500) {
      submission.surprises.push(`${what} was answered with ${answer?.status} though nothing was wrong`)
    }
  }
  if (image.posts !== undefined) await upload(world, image, submission, bytes, mine, say)
  const wanted = image.analyses === undefined ? '' : `?analyses=${image.analyses}`
  const send = async (): Promise<Answer> => {
    const answer = await world.request(`/images${wanted}`, {
      ...{ method: 'POST', headers: { 'content-type': 'image/jpeg', ...mine }, body: new Uint8Array(bytes) },
    })
    say('submission', answer)
    if (answer?.status === 202) {
      submission.imageIds.add(String(answer.body['imageId']))
      submission.acceptedAt ??= clock.time
    }
    return answer
  }
  for (let post = 0; image.posts === undefined && post < (hasKey ? MAX_POSTS : 1); post += 1) {
    const twins = image.twin && world.has('parallel requests') ? [send(), send()] : [send()]
    const answers = await Promise.all(twins)
    submission.answer = answers.find((answer) => answer?.status === 202)?.status ?? answers[0]?.status
    if (submission.answer === 202 || submission.answer === 429) break
    await clock.sleep(2_000)
  }
  const [imageId] = submission.imageIds
  if (imageId === undefined || (submission.acceptedAt === undefined && image.deleteAfter === undefined))
    return
  await lookAround(world, imageId, image.owner, submission)
  if (image.deleteAfter !== undefined) {
    await clock.sleep(image.deleteAfter)
    submission.deletionAt = clock.time
    for (;;) {
      const answer = await world.request(`/images/${imageId}`, { method: 'DELETE', headers: mine })
      say('deletion', answer)
      if (answer?.status === 204 || answer?.status === 404) break
      await clock.sleep(20_000)
    }
    submission.deletedAt = clock.time
    if (image.again && (await send())?.status === 202) submission.surprises.push('what was deleted is back')
    return
  }
  const status = await finished(world, imageId, owner)
  if (status !== 'failed' || !image.retry) return
  for (let post = 0; post < MAX_POSTS; post += 1) {
    const answer = await world.request(`/images/${imageId}/retry`, { method: 'POST', headers: mine })
    say('retry', answer)
    // Also one without an answer may have begun a run.
    if (answer?.status !== 409) submission.retries += 1
    if (answer?.status === 202 || answer?.status === 409) return
    await clock.sleep(10_000)
  }
}

type Answer = Awaited<ReturnType<World['request']>>

/** Who has just been given an id finds its image, and the other owner does not. */
async function lookAround(
  world: World,
  imageId: string,
  owner: Owner | undefined,
  { surprises }: Submission,
): Promise<void> {
  const own = await world.request(`/images/${imageId}`, { headers: { 'x-owner': owner ?? 'owner' } })
  if (own?.status === 404) surprises.push(`${imageId} is not there for its owner`)
  if (owner === undefined) return
  const headers = { 'x-owner': owner === 'owner' ? 'other owner' : 'owner' }
  for (const method of ['GET', 'DELETE']) {
    const answer = await world.request(`/images/${imageId}`, { method, headers })
    if ((answer?.status ?? 404) < 400) surprises.push(`${imageId} is there for a ${method} of another owner`)
  }
}

/** Asks for a form, with a key again until there is one, and posts with it. */
async function upload(
  world: World,
  { posts = 0, told, key, twin, analyses }: Scenario['images'][number],
  submission: Submission,
  bytes: Buffer,
  mine: Record<string, string>,
  say: (what: string, answer: Answer) => void,
): Promise<void> {
  let answer: Answer
  for (let tries = key || twin ? MAX_POSTS : 1; tries > 0; tries -= 1) {
    answer = await world.request('/uploads', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...mine },
      body: JSON.stringify({ contentType: 'image/jpeg', bytes: bytes.length, analyses }),
    })
    submission.answer = answer?.status
    say('form', answer)
    if (answer?.status === 201 || answer?.status === 429 || tries === 1) break
    await world.clock.sleep(2_000)
  }
  if (answer?.status !== 201) return
  submission.imageIds.add(String(answer.body['imageId']))
  const { key: Key } = (answer.body['upload'] as { fields: { key: string } }).fields
  for (let post = 0; post < posts; post += 1) {
    await world.clock.sleep(200 + world.random() * 2_000)
    world.log(`a client posts ${Key}`)
    world.s3.put({ Key, Body: bytes, ContentType: 'image/jpeg' })
    submission.acceptedAt ??= world.clock.time
    world.tellOfUpload(Key, told)
  }
}

/** Polls as a client would: often at first, then with patience. */
async function finished(world: World, imageId: string, owner: Owner): Promise<string> {
  for (let wait = 1_000; ; wait = Math.min(wait * 3, 3_600_000)) {
    const answer = await world.request(`/images/${imageId}`, { headers: { 'x-owner': owner } })
    const status = String(answer?.body['status'])
    // It has expired since.
    if (answer?.status === 404) return 'gone'
    if (answer?.status === 200 && (status === 'completed' || status === 'failed')) return status
    await world.clock.sleep(wait)
  }
}
