import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DeleteMessageBatchCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import sharp from 'sharp'
import * as z from 'zod'
import { sqsOptions } from '../shared/aws.ts'
import { ROOT } from './bundle.ts'
import { type Emulator, lastLogs } from './emulators.ts'
import { type Check, type Deployed, demand, TARGET } from './steps.ts'

/** Milliseconds without any progress, after which an image or an event is given up. A cold start takes a few seconds. */
const PATIENCE_MS = 60_000
const PAUSE_MS = 500
const LOG_LINES = 10

const FORMATS = ['jpeg', 'png', 'webp', 'gif', 'avif'] as const
type Format = (typeof FORMATS)[number]

/** Every kind of body that POST /images takes. */
const BODIES: Record<string, (bytes: Buffer<ArrayBuffer>, type: string) => RequestInit> = {
  'image/*': (body, type) => ({ headers: { 'content-type': type }, body }),
  'octet stream': (body) => ({ headers: { 'content-type': 'application/octet-stream' }, body }),
  form: (bytes, type) => {
    const body = new FormData()
    body.set('image', new File([bytes], 'photo', { type }))
    return { body }
  },
  JSON: (bytes) => ({
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ image: bytes.toString('base64') }),
  }),
}

/** What the gateway of an emulator can pass on. */
const bodiesFor = ({ textOnly = false }: Emulator) =>
  Object.entries(BODIES).filter(([kind]) => kind === 'JSON' || !textOnly)

const acceptedSchema = z.object({ imageId: z.string() })
const formSchema = acceptedSchema.extend({
  upload: z.object({ url: z.url(), fields: z.record(z.string(), z.string()) }),
})
const recordSchema = z.object({
  status: z.string(),
  original: z.object({ contentType: z.string(), sha256: z.string().optional() }),
  thumbnail: z.object({ width: z.number(), height: z.number() }).optional(),
  labelModelVersion: z.string().optional(),
  failure: z.object({ code: z.string(), message: z.string() }).optional(),
})
const eventSchema = z.object({ 'detail-type': z.string(), detail: z.object({ imageId: z.string() }) })

/** Nothing happens any more, and would not for the next image either. */
class Stuck extends Error {}

/** Waits until there is something, as long as anything happens. */
async function until<T>(
  signal: AbortSignal,
  look: () => Promise<{ found?: T; progress: string }>,
  late: (progress: string) => Promise<Stuck>,
): Promise<T> {
  let last: string | undefined
  let moved = performance.now()
  for (;;) {
    const { found, progress } = await look()
    if (found !== undefined) return found
    if (progress !== last) moved = performance.now()
    last = progress
    if (performance.now() - moved > PATIENCE_MS) throw await late(progress)
    await sleep(PAUSE_MS, undefined, { signal })
  }
}

async function request(url: string, init: RequestInit, expected: number): Promise<Response> {
  const answer = await fetch(url, init)
  if (answer.status === expected) return answer
  const text = (await answer.text()).slice(0, 500)
  throw new Error(`${init.method ?? 'GET'} ${url} answered ${answer.status} and not ${expected}: ${text}`)
}

/** Each has bytes of its own, so that no results are reused. */
let drawn = 0
async function draw(format: Format): Promise<Buffer<ArrayBuffer>> {
  drawn += 1
  const photo = await readFile(join(ROOT, 'test/fixtures/grace-hopper.jpg'))
  const { data } = await sharp(photo)
    .resize(300 + drawn)
    .toFormat(format)
    .toBuffer({ resolveWithObject: true })
  return Buffer.from(data)
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Waits for an image to be completed, and looks at all that callers get of it. */
async function demandResults(
  { endpoint, emulator, name, signal }: Check,
  url: string,
  bytes: Buffer,
  format: Format,
): Promise<void> {
  const record = await until(
    signal,
    async () => {
      const record = recordSchema.parse(await (await request(url, {}, 200)).json())
      const isFinished = record.status === 'completed' || record.status === 'failed'
      return { progress: record.status, ...(isFinished ? { found: record } : {}) }
    },
    async (status) => {
      const logs = await lastLogs(endpoint, `${name}-worker`, LOG_LINES).catch(() => [])
      const logged = logs.join('\n') || 'Nothing.'
      return new Stuck(
        `the image stays ${status}. If the worker's log does not say why, ${emulator.title}'s own may: does the worker need --libc musl there, and does it reach Rekognition? The worker's log:\n${logged}`,
      )
    },
  )
  if (record.failure !== undefined) throw new Error(`${record.failure.code}: ${record.failure.message}`)
  demand('the content type', record.original.contentType, `image/${format}`)
  demand('the hash of what arrived', record.original.sha256, hashOf(bytes))
  demand('the thumbnail', `${record.thumbnail?.width} × ${record.thumbnail?.height}`, '128 × 128')
  demand('labels by a model', record.labelModelVersion === undefined, false)
  const original = await (await request(`${url}/original`, {}, 200)).arrayBuffer()
  demand('the hash of the original', hashOf(new Uint8Array(original)), hashOf(bytes))
  for (const part of ['thumbnail', 'preview']) {
    const picture = Buffer.from(await (await request(`${url}/${part}`, {}, 200)).arrayBuffer())
    demand(`the first bytes of the ${part}`, picture.toString('hex', 0, 3), 'ffd8ff')
  }
}

/** @returns ids of the images, which are completed */
export async function sendPhotos(check: Check, apiUrl: string, format: Format): Promise<string[]> {
  const sent = await Promise.all(
    bodiesFor(check.emulator).map(async ([kind, bodyOf]) => {
      const bytes = await draw(format)
      const init = { method: 'POST', ...bodyOf(bytes, `image/${format}`) }
      const { imageId } = acceptedSchema.parse(await (await request(`${apiUrl}/images`, init, 202)).json())
      return { kind, bytes, imageId }
    }),
  )
  for (const { kind, bytes, imageId } of sent) {
    await demandResults(check, `${apiUrl}/images/${imageId}`, bytes, format).catch((error: Error) => {
      error.message = `sent as ${kind}: ${error.message}`
      throw error
    })
  }
  return sent.map(({ imageId }) => imageId)
}

/** A presigned form, posted to the bucket itself. */
async function upload(check: Check, apiUrl: string): Promise<string[]> {
  const bytes = await draw('jpeg')
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify({ contentType: 'image/jpeg', bytes: bytes.length })
  const asked = await request(`${apiUrl}/uploads`, { method: 'POST', headers, body }, 201)
  const { imageId, upload } = formSchema.parse(await asked.json())
  const form = new FormData()
  for (const [name, value] of Object.entries(upload.fields)) form.set(name, value)
  form.set('file', new Blob([bytes]))
  await request(upload.url, { method: 'POST', body: form }, 204)
  await demandResults(check, `${apiUrl}/images/${imageId}`, bytes, 'jpeg')
  return [imageId]
}

/** Takes events from the subscriber's queue until there is one for each image. */
async function receiveEvents({ endpoint, signal }: Check, QueueUrl: string, imageIds: string[]) {
  const sqs = new SQSClient(sqsOptions({ ...TARGET, endpoint }))
  const awaited = new Set(imageIds)
  try {
    await until(
      signal,
      async () => {
        const { Messages = [] } = await sqs.send(
          new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 0 }),
        )
        for (const { Body = '' } of Messages) {
          const { detail, ...event } = eventSchema.parse(JSON.parse(Body))
          if (!awaited.delete(detail.imageId)) continue
          demand('the type of an event', event['detail-type'], 'Image Analysis Completed')
        }
        if (Messages.length > 0) {
          const Entries = Messages.map(({ ReceiptHandle }, index) => ({ Id: String(index), ReceiptHandle }))
          await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }))
        }
        return { progress: String(awaited.size), ...(awaited.size === 0 ? { found: true } : {}) }
      },
      async (left) => new Stuck(`${left} of ${imageIds.length} events did not arrive`),
    )
  } finally {
    sqs.destroy()
  }
}

/** Has photos of every format and body kind analysed through the gateway, and sees their events at the subscriber. */
export async function usePhotos(check: Check, { apiUrl, subscriberQueueUrl }: Deployed): Promise<void> {
  const { steps, emulator } = check
  let useless = emulator.runsNothing
  const imageIds: string[] = []
  const step = async (name: string, kinds: string, send: () => Promise<string[]>): Promise<void> => {
    if (check.signal.aborted) useless ??= 'interrupted'
    if (useless !== undefined) return steps.skip(name, useless)
    const sent = await steps.run(
      name,
      () =>
        send().catch((error) => {
          if (error instanceof Stuck) useless = 'nothing is worked on'
          throw error
        }),
      (ids) => `${ids.length} completed, sent ${kinds}`,
    )
    imageIds.push(...(sent ?? []))
  }
  const kinds = bodiesFor(emulator).map(([kind]) => kind)
  for (const format of FORMATS) {
    await step(format, `as ${kinds.join(', ')}`, () => sendPhotos(check, apiUrl, format))
  }
  await step('upload', 'by a presigned form', () => upload(check, apiUrl))
  if (imageIds.length === 0) return steps.skip('events', useless ?? 'no image was completed')
  await steps.run(
    'events',
    () => receiveEvents(check, subscriberQueueUrl, imageIds),
    () => `${imageIds.length} at the subscriber's queue`,
  )
}
