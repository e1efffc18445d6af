import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { InternalServerError, ThrottlingException } from '@aws-sdk/client-rekognition'
import type { SQSEvent } from 'aws-lambda'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { createLog } from '../../shared/log.ts'
import { sweep } from '../../sweeper/sweep.ts'
import { processBatch } from '../../worker/batch.ts'
import type { WorkerDeps } from '../../worker/deps.ts'
import { lambdaContext, startTestSystem, type TestSystem } from '../context.ts'
import { newFolder } from '../started.ts'
import { NODE, sendForm } from '../tools.ts'

/** What functions write to standard output, and what the command line makes of it. */

const root = join(import.meta.dirname, '../..')
const photo = readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg'))

let system: TestSystem
const printed: string[] = []
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system?.stop())

/** Runs a function with its log, of which each line is kept as it is printed. */
async function as<T>(service: string, run: (log: ReturnType<typeof createLog>) => Promise<T>): Promise<T> {
  const take = (text: unknown): boolean => printed.push(String(text)) > 0
  const spies = (['stdout', 'stderr'] as const).map((to) =>
    vi.spyOn(process[to], 'write').mockImplementation(take),
  )
  try {
    return await run(createLog(service, 'image-analyzer'))
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}
const ask = (path: string, init: RequestInit = {}): Promise<Response> =>
  as('api', async (log) => buildApp({ ...system.api, log }).request(path, init))
async function submit(bytes: Uint8Array = photo): Promise<string> {
  const headers = { 'content-type': 'image/jpeg' }
  const answer = await ask('/images', { method: 'POST', headers, body: new Uint8Array(bytes) })
  return ((await answer.json()) as { imageId: string }).imageId
}
const jobOf = (imageId: string, epoch = 1) =>
  ({
    Records: [
      {
        ...{ messageId: 'message-1', receiptHandle: 'gone' },
        body: JSON.stringify({ version: 1, imageId, epoch }),
        attributes: { ApproximateReceiveCount: '1' },
      },
    ],
  }) as unknown as SQSEvent
/** Answers of images before are not taken over, so that each is asked for. */
let sources = 0
const work = (imageId: string, over: Partial<WorkerDeps> = {}, epoch = 1) =>
  as('worker', (log) => {
    sources += 1
    const deps = { ...system.worker, log, analysisSource: `source ${sources}`, ...over }
    return processBatch(deps, jobOf(imageId, epoch), lambdaContext())
  })
const refusing = (error: Error): Partial<WorkerDeps> => ({
  rekognition: { send: () => Promise.reject(error) } as unknown as WorkerDeps['rekognition'],
})
const answer = { message: 'not now', $metadata: {} }
const unlimited = (): WorkerDeps['limiters'] => {
  const limiter = { rate: 100, run: <T>(call: () => Promise<T>) => call() }
  return { labels: limiter, faces: limiter, moderation: limiter, text: limiter }
}

/** By the command line, in a process of its own. */
async function story(args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [...NODE, 'packages/client/main.ts', 'story', ...args], {
    cwd: root,
    env: { ...process.env, NO_COLOR: '1', ...env },
  })
  const text = { out: '', err: '' }
  child.stdout.on('data', (chunk) => {
    text.out += chunk
  })
  child.stderr.on('data', (chunk) => {
    text.err += chunk
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  const lines = text.out.split('\n').filter((line) => line !== '')
  return { code, err: text.err, events: lines.map((line) => JSON.parse(line).event as string), lines }
}
function logFile(): string {
  const file = join(newFolder(), 'log.jsonl')
  writeFileSync(file, `START RequestId: 1\n${printed.join('')}{"cut off`)
  return file
}

describe('the story of an image', () => {
  it('is told by its log alone, whatever becomes of the image', async () => {
    const stories: [string, string[]][] = []

    const plain = await submit()
    await work(plain)
    stories.push([plain, ['accepted', 'claimed', 'completed', 'announced']])

    const verdict = await submit(photo.subarray(0, 20_000))
    await work(verdict)
    stories.push([verdict, ['accepted', 'claimed', 'failed', 'announced']])

    const troubled = await submit()
    for (let time = 0; time < 3; time += 1) await work(troubled, refusing(new InternalServerError(answer)))
    await work(troubled)
    const attempt = ['claimed', 'attempt failed']
    stories.push([
      troubled,
      ['accepted', ...attempt, ...attempt, ...attempt, 'claimed', 'completed', 'announced'],
    ])

    const throttled = await submit()
    for (let time = 0; time < 2; time += 1) {
      await work(throttled, { ...refusing(new ThrottlingException(answer)), limiters: unlimited() })
    }
    await work(throttled)
    const wait = ['claimed', 'waits for quota']
    stories.push([throttled, ['accepted', ...wait, ...wait, 'claimed', 'completed', 'announced']])

    // A worker that dies says nothing; its lease runs out, and another takes the image over.
    const crashed = await submit()
    const never = () => new Promise<never>(() => {})
    let taken: (() => void) | undefined
    const begun = new Promise<void>((resolve) => {
      taken = resolve
    })
    await as('worker', async (log) => {
      const render = () => {
        taken?.()
        return never()
      }
      void processBatch({ ...system.worker, log, render, sleep: never }, jobOf(crashed), lambdaContext())
      await begun
    })
    await work(crashed)
    await system.setItem(crashed, { leaseUntil: 0 })
    await work(crashed)
    stories.push([crashed, ['accepted', 'claimed', 'held', 'claimed', 'completed', 'announced']])

    const rescued = await submit()
    const later = () => new Date(Date.now() + 2 * system.worker.sweepAfterMs)
    await as('sweeper', (log) => sweep({ ...system.worker, log, now: later, giveUpMs: 14 * 86_400_000 }))
    await work(rescued)
    stories.push([rescued, ['accepted', 'requeued', 'claimed', 'completed', 'announced']])

    const deleted = await submit()
    const render: WorkerDeps['render'] = async (...given) => {
      await system.app.request(`/images/${deleted}`, { method: 'DELETE' })
      return system.worker.render(...given)
    }
    await work(deleted, { render })
    stories.push([deleted, ['accepted', 'claimed', 'outcome lost']])

    const form = await ask('/uploads', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ contentType: 'image/jpeg', bytes: photo.length }),
    })
    const { imageId, upload } = (await form.json()) as {
      imageId: string
      upload: { url: string; fields: Record<string, string> }
    }
    expect((await sendForm(upload, photo)).ok).toBe(true)
    await work(imageId)
    stories.push([imageId, ['form issued', 'claimed', 'completed', 'announced']])

    const redriven = await submit()
    await system.setItem(redriven, { attempts: 10 })
    await work(redriven)
    await work(redriven, {}, 2)
    stories.push([
      redriven,
      [...['accepted', 'claimed', 'failed', 'announced'], 'redriven', 'claimed', 'completed', 'announced'],
    ])

    const file = logFile()
    const lines = printed.map((line) => JSON.parse(line) as { imageId?: string; event: string })
    const told = stories.map(([id]) =>
      lines.filter(({ imageId }) => imageId === id).map(({ event }) => event),
    )
    expect(told).toEqual(stories.map(([, events]) => events))
    for (const [id = '', events] of [stories[0] ?? [], stories.at(-1) ?? []]) {
      const byCommand = await story([id, '--log', file])
      expect([byCommand.code, byCommand.events]).toEqual([0, events])
    }
  })

  it('comes from CloudWatch Logs as well, from all groups and pages, by signed requests, also where they are too many', async () => {
    const imageId = await submit()
    await work(imageId)
    const asked: Record<string, unknown>[] = []
    // As AWS says that it is asked too often, and as a proxy says that AWS is not there.
    const refusals: [number, string][] = [
      [400, '{"__type":"ThrottlingException","message":"Rate exceeded"}'],
      [503, '<h1>Unavailable</h1>'],
    ]
    const server = createServer(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk)
      const [status, refusal] = (asked.length > 0 && refusals.shift()) || []
      if (status !== undefined) return void response.writeHead(status).end(refusal)
      const body = JSON.parse(Buffer.concat(chunks).toString())
      asked.push({ ...body, by: request.headers.authorization, of: request.headers['x-amz-target'] })
      const own = printed.filter((line) => line.includes(`"service":"${body.logGroupName}"`))
      const [first = [], rest = []] = [own.slice(0, 2), own.slice(2)]
      const page = body.nextToken === undefined ? first : rest
      const nextToken = body.nextToken === undefined ? { nextToken: 'more' } : {}
      response.end(JSON.stringify({ events: page.map((message) => ({ message })), ...nextToken }))
    })
    const port = await listen(server, 0)
    onTestFinished(() => void server.close())
    const env = {
      AWS_ENDPOINT_URL_CLOUDWATCH_LOGS: `http://127.0.0.1:${port}`,
      ...{ AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_REGION: 'eu-west-1' },
    }
    const { code, events, err } = await story([imageId, '--log-groups', 'api,worker'], env)
    expect([code, events, err]).toEqual([0, ['accepted', 'claimed', 'completed', 'announced'], ''])
    expect(refusals).toEqual([])
    expect(asked.map(({ logGroupName, nextToken }) => [logGroupName, nextToken])).toEqual([
      ...[
        ['api', undefined],
        ['api', 'more'],
        ['worker', undefined],
        ['worker', 'more'],
      ],
    ])
    expect(asked[0]).toMatchObject({
      ...{ filterPattern: `{ $.imageId = "${imageId}" }`, of: 'Logs_20140328.FilterLogEvents' },
      by: expect.stringMatching(/^AWS4-HMAC-SHA256 Credential=test\/\d{8}\/eu-west-1\/logs\/aws4_request/),
    })
  })

  it('names the endpoint where what answers is not CloudWatch Logs, or nothing does', async () => {
    const server = createServer((_, response) => void response.end('<h1>Welcome</h1>'))
    const host = `127.0.0.1:${await listen(server, 0)}`
    const env = {
      AWS_ENDPOINT_URL_CLOUDWATCH_LOGS: `http://${host}`,
      ...{ AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_REGION: 'eu-west-1' },
    }
    const ask = () => story(['01a20f3c-366e-734c-99ed-0d5fffb2c168', '--log-groups', 'api'], env)
    const strange = await ask()
    server.close()
    server.closeAllConnections()
    expect([strange.code, strange.err, (await ask()).err]).toEqual([
      1,
      `The log cannot be read: ${host} answers in words that are not those of CloudWatch Logs.\n`,
      `The log cannot be read: ${host} does not answer (ECONNREFUSED).\n`,
    ])
  })

  it('of an image that the log does not have is none: exit code 1; wrong usage is 2', async () => {
    const file = logFile()
    const unknown = '01a20f3c-366e-734c-99ed-0d5fffb2c168'
    const results = await Promise.all([
      story([unknown, '--log', file]),
      story([unknown, '--log', join(root, 'nowhere.jsonl')]),
      story(['cat.jpg', '--log', file]),
      story([unknown]),
    ])
    expect(results.map(({ code }) => code)).toEqual([1, 1, 2, 2])
    expect(results[0]?.err).toBe(`The log has no line about ${unknown}.\n`)
    expect(results[1]?.err).toMatch(/^The log cannot be read: ENOENT/)
  })
})
