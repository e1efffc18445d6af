import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { DeleteMessageBatchCommand } from '@aws-sdk/client-sqs'
import type { SQSEvent } from 'aws-lambda'
import { bundle, ROOT } from '../build/bundle.ts'
import { type ShownImage, startTestSystem, type TestSystem, until } from '../test/context.ts'
import { sendForm } from '../test/tools.ts'

/** Images in a batch, as the queue hands them to the function. */
export const BATCH = 10

/** Of Rekognition, for labels and for faces. */
const answerOf = (labels: number, faces: number): string =>
  JSON.stringify({
    Labels: Array.from({ length: labels }, (_, at) => ({
      // Who has a face is a person.
      Name: at === 0 && faces > 0 ? 'Person' : `Label ${at}`,
      Confidence: 99.5 - at / 10,
      Parents: [],
      Categories: [],
      Aliases: [],
      Instances: [],
    })),
    LabelModelVersion: '3.0',
    FaceDetails: Array.from({ length: faces }, () => ({
      BoundingBox: { Left: 0.4, Top: 0.3, Width: 0.2, Height: 0.3 },
      Confidence: 99.9,
      AgeRange: { Low: 25, High: 35 },
      Gender: { Value: 'Female', Confidence: 99.1 },
      Emotions: ['HAPPY', 'CALM', 'SAD', 'ANGRY', 'SURPRISED', 'DISGUSTED', 'CONFUSED', 'FEAR'].map(
        (Type, at) => ({ Type, Confidence: 90 / 3 ** at }),
      ),
    })),
  })

interface Answering {
  latencyMs?: number
  /** Of each image. */
  labels?: number
  faces?: number
}

/** Answers without a look, since a decoder beside the worker would only cost time. */
async function startRekognition({
  latencyMs = 0,
  labels = 20,
  faces = 0,
}: Answering): Promise<{ endpoint: string; asked: () => number; stop: () => void }> {
  const answer = answerOf(labels, faces)
  let asked = 0
  const server = createServer((request, response) => {
    asked += 1
    request.resume().on('end', () =>
      setTimeout(() => {
        response.setHeader('content-type', 'application/x-amz-json-1.1')
        response.end(answer)
      }, latencyMs),
    )
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: () => asked,
    stop: () => server.close(),
  }
}

/** The embedded AWS in this process, and the worker as it is built, for processes of its own. */
export class Deployed {
  readonly #system: TestSystem
  readonly #rekognition: Awaited<ReturnType<typeof startRekognition>>
  readonly #folder = mkdtempSync(join(tmpdir(), 'deployed-'))

  /** Within the repository, since the bundle has to find sharp. */
  readonly #deployed = mkdtempSync(join(ROOT, 'dist', 'worker-'))
  readonly #index = pathToFileURL(join(this.#deployed, 'index.mjs')).href

  constructor(system: TestSystem, rekognition: Awaited<ReturnType<typeof startRekognition>>) {
    this.#system = system
    this.#rekognition = rekognition
  }

  async deploy(): Promise<this> {
    const { files } = await bundle('worker')
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(this.#deployed, name), bytes)
    return this
  }

  /** As a client does: announced, then posted to S3, whose event is the job. */
  async upload(bytes: Buffer, contentType: string, owner: string): Promise<string> {
    const answer = await this.#system.app.request('/uploads', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-test-owner': owner },
      body: JSON.stringify({ contentType, bytes: bytes.length }),
    })
    const { imageId, upload } = (await answer.json()) as {
      imageId: string
      upload: { url: string; fields: Record<string, string> }
    }
    const posted = await sendForm(upload, bytes)
    if (posted.status !== 204) throw new Error(`S3 answered ${posted.status} ${await posted.text()}`)
    return imageId
  }

  /** Batches of all jobs that wait, which are gone from the queue: they would come again while a benchmark lasts. */
  async batches(images: number): Promise<SQSEvent[]> {
    const batches: SQSEvent[] = []
    let records: SQSEvent['Records'] = []
    let received = 0
    while (received < images) {
      const { Records } = await until('a job', async () => {
        const event = await this.#system.receiveJobs()
        return event.Records.length > 0 ? event : undefined
      })
      received += Records.length
      records.push(...Records)
      await this.#remove(Records)
      while (records.length >= BATCH || (received >= images && records.length > 0)) {
        batches.push({ Records: records.slice(0, BATCH) })
        records = records.slice(BATCH)
      }
    }
    return batches
  }

  async #remove(records: SQSEvent['Records']): Promise<void> {
    const { sqs, jobQueueUrl } = this.#system.worker
    const Entries = records.map(({ receiptHandle }, at) => ({ Id: `${at}`, ReceiptHandle: receiptHandle }))
    await sqs.send(new DeleteMessageBatchCommand({ QueueUrl: jobQueueUrl, Entries }))
  }

  get endpoint(): string {
    return this.#system.endpoint
  }
  /** Calls of Rekognition until now. */
  get asked(): number {
    return this.#rekognition.asked()
  }
  get table(): string {
    return this.#system.names.table
  }

  /** @returns what a program of this folder's (`node [args] index.mjs batches`) has written last, as JSON */
  async run<T>(
    args: readonly string[],
    batches: readonly object[],
    env: Record<string, string> = {},
  ): Promise<T> {
    const file = join(this.#folder, 'batches')
    writeFileSync(file, batches.map((batch) => JSON.stringify(batch)).join('\n'))
    const { bucket, table, eventBus } = this.#system.names
    const { stdout } = await promisify(execFile)(process.execPath, [...args, this.#index, file], {
      maxBuffer: 1e8,
      env: {
        PATH: process.env['PATH'],
        AWS_REGION: 'us-east-1',
        AWS_ACCESS_KEY_ID: 'test',
        AWS_SECRET_ACCESS_KEY: 'test',
        AWS_ENDPOINT_URL: this.#system.endpoint,
        IMAGE_BUCKET: bucket,
        IMAGE_TABLE: table,
        JOB_QUEUE_URL: this.#system.worker.jobQueueUrl,
        EVENT_BUS_NAME: eventBus,
        AWS_ENDPOINT_URL_REKOGNITION: this.#rekognition.endpoint,
        // As on Lambda (worker.tf), and a log that says nothing.
        MALLOC_ARENA_MAX: '2',
        POWERTOOLS_LOG_LEVEL: process.env['LOG'] ?? 'SILENT',
        NODE_NO_WARNINGS: '1',
        ...env,
      },
    })
    return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as T
  }

  /** What became of an image, which is then removed. */
  async outcome(imageId: string, owner: string): Promise<string> {
    const { app } = this.#system
    const path = `/images/${imageId}`
    const headers = { 'x-test-owner': owner }
    const { status, failure } = (await (await app.request(path, { headers })).json()) as ShownImage
    await app.request(path, { method: 'DELETE', headers })
    return failure?.code ?? status
  }

  submit(bytes: Buffer): Promise<string> {
    return this.#system.submit(bytes)
  }

  async stop(): Promise<void> {
    this.#rekognition.stop()
    await this.#system.stop()
    for (const folder of [this.#folder, this.#deployed]) rmSync(folder, { recursive: true })
  }
}

export async function deploy(rekognition: Answering = {}): Promise<Deployed> {
  mkdirSync(join(ROOT, 'dist'), { recursive: true })
  return new Deployed(await startTestSystem(), await startRekognition(rekognition)).deploy()
}
