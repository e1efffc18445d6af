import { exec } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, get, type RequestListener, request as send } from 'node:http'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { CreateQueueCommand, DeleteQueueCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { describe, expect, it, onTestFinished } from 'vitest'
import { oneOf } from '../../build/command.ts'
import { buildProcess } from '../../build/process.ts'
import { ARCHITECTURES, platformHere } from '../../build/sharp.ts'
import { close, listen } from '../../packages/embedded-aws/gateway/index.ts'
import { sqsOptions } from '../../shared/aws.ts'
import { endSilence } from '../../worker/deps.ts'
import { outcome } from '../commands.ts'
import { finished, until } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { launch, newFolder, post, root } from '../started.ts'
import { startHere } from '../system.ts'
import { noLinux, SILENT, skipped } from '../tools.ts'

const photo = readFileSync(join(root, 'test/fixtures/grace-hopper.jpg'))
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }

/** What names the resources of `npm start` to a worker beside it. */
const besideOf = (aws: string): Record<string, string> => ({
  ...{ AWS_ENDPOINT_URL: aws, AWS_REGION: 'us-east-1' },
  ...{ AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' },
  ...{ IMAGE_BUCKET: 'image-analyzer-images', IMAGE_TABLE: 'image-analyzer-images' },
  ...{ JOB_QUEUE_URL: `${aws}/000000000000/image-analyzer-jobs`, EVENT_BUS_NAME: 'image-analyzer' },
})

type Worker = ReturnType<typeof launch>
const launchWorker = (env: Record<string, string>): Worker => launch(env, [], 'worker/main.ts')

/** Of /live, /ready and /metrics. */
async function portOf(worker: Worker): Promise<string> {
  const port = await until('the worker takes jobs', async () => {
    if (worker.process.exitCode !== null) throw new Error(worker.output())
    return /"message":"the worker takes jobs".*"port":(\d+)/.exec(worker.output())?.[1]
  })
  return `http://127.0.0.1:${port}`
}

/** Passes requests on, and counts those whose body has this text. */
async function countOf(text: string, to: string): Promise<{ url: string; count: () => number }> {
  let count = 0
  const server = createServer(async (request, response) => {
    const body = await buffer(request)
    if (body.includes(text)) count += 1
    const { method, url, headers } = request
    send(new URL(url ?? '/', to), { method, headers: { ...headers, host: new URL(to).host } }, (answer) =>
      answer.pipe(response.writeHead(answer.statusCode ?? 500, answer.headers)),
    ).end(body)
  })
  const url = `http://127.0.0.1:${await listen(server, 0)}`
  onTestFinished(() => close(server))
  return { url, count: () => count }
}

async function refusalOf(env: Record<string, string>): Promise<string> {
  const { exit, said } = await outcome('worker/main.ts', [], env)
  expect(exit).toBe(1)
  return said
}

/** The images of jobs that another worker gets, long before the visibility timeout of six minutes. */
async function givenBack(endpoint: string): Promise<string[]> {
  const sqs = new SQSClient(sqsOptions({ endpoint, region: 'us-east-1', credentials }))
  const QueueUrl = besideOf(endpoint)['JOB_QUEUE_URL']
  const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 20 }))
  sqs.destroy()
  return Messages.map(({ Body = '' }) => JSON.parse(Body).imageId)
}

describe('npm run worker', () => {
  it('works on the jobs of npm start that has no worker, says how it is, and ends at SIGTERM', async () => {
    const said: string[] = []
    const system = await startHere({ WORKER: 'off' }, { ...SILENT, info: (message) => said.push(message) })
    const ids = await Promise.all([0, 1, 2].map(async (number) => post(system.url, await distinct(number))))
    ids.push(await post(system.url, photo.subarray(0, 30_000)))
    const looks = await countOf('"ready"', system.awsEndpoint)
    const env = { ...besideOf(system.awsEndpoint), AWS_ENDPOINT_URL_DYNAMODB: looks.url }
    const worker = launchWorker({ ...env, HEALTH_PORT: '0' })
    const health = await portOf(worker)
    const ends = await Promise.all(ids.map((id) => finished(system.url, id)))
    expect(ends.map(({ status }) => status)).toEqual(['completed', 'completed', 'completed', 'failed'])
    expect(said).not.toContainEqual(expect.stringMatching(/^(completed|failed)/))

    expect((await fetch(`${health}/live?by=probe`)).status).toBe(200)
    const posted = await fetch(`${health}/live`, { method: 'POST', body: 'x' })
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
    const began = performance.now()
    for (let time = 0; time < 6; time += 1)
      expect(await (await fetch(`${health}/ready`)).json()).toEqual({ status: 'ready' })
    // Once at the start, once for all who ask, and again after each ten seconds of them.
    const most = 2 + Math.floor((performance.now() - began) / 10_000)
    expect(looks.count()).toBeGreaterThan(1)
    expect(looks.count()).toBeLessThanOrEqual(most)
    expect((await fetch(`${health}/`)).status).toBe(404)
    await until('all is announced', async () =>
      worker.output().match(/"event":"announced"/g)?.length === 4 ? true : undefined,
    )
    const metrics = await (await fetch(`${health}/metrics`)).text()
    expect(metrics.split('\n')).toEqual(
      expect.arrayContaining([
        'image_analyzer_claimed_total 4',
        'image_analyzer_completed_total 3',
        'image_analyzer_failed_total{code="CORRUPT_IMAGE"} 1',
        'image_analyzer_total_seconds_count 4',
        expect.stringMatching(/^image_analyzer_total_seconds_sum \d+\.\d+$/),
      ]),
    )
    expect(await worker.end('SIGTERM')).toBe(0)
    expect(worker.output()).not.toMatch(/"level":"(WARN|ERROR)"/)
  })

  it('gives back at SIGTERM what it is working on, and a second SIGTERM changes nothing', async () => {
    const system = await startHere({ WORKER: 'off', STAND_IN_LATENCY_MS: '60000' })
    const imageId = await post(system.url, await distinct(1))
    const worker = launchWorker({ ...besideOf(system.awsEndpoint), HEALTH_PORT: '0', DRAIN_SECONDS: '10' })
    const health = await portOf(worker)
    await until('the image is claimed', async () =>
      /"event":"claimed"/.test(worker.output()) ? true : undefined,
    )
    worker.process.kill('SIGTERM')
    await until('it is not ready any more', async () =>
      (await fetch(`${health}/ready`)).status === 503 ? true : undefined,
    )
    expect((await fetch(`${health}/live?by=probe`)).status).toBe(200)
    expect(await worker.end('SIGTERM')).toBe(0)
    expect(worker.output()).toMatch(new RegExp(`"event":"out of time".*"imageId":"${imageId}"`))
    expect(await givenBack(system.awsEndpoint)).toEqual([imageId])
  })

  it.each<[NodeJS.Signals, string]>([
    ['SIGINT', 'Ctrl-C in a pipe'],
    ['SIGHUP', 'the end of its terminal'],
  ])(
    'gives back at %s what it is working on, and its log has no reader any more, as after %s',
    async (signal) => {
      const system = await startHere({ WORKER: 'off', STAND_IN_LATENCY_MS: '60000' })
      const imageId = await post(system.url, await distinct(1))
      const worker = launchWorker({ ...besideOf(system.awsEndpoint), DRAIN_SECONDS: '10' })
      await until('the image is claimed', async () =>
        /"event":"claimed"/.test(worker.output()) ? true : undefined,
      )
      worker.process.stdout?.destroy()
      expect(await worker.end(signal)).toBe(0)
      expect(worker.output()).not.toContain('EPIPE')
      expect(await givenBack(system.awsEndpoint)).toEqual([imageId])
    },
  )

  it('ends a request that has no limit of its own, as for credentials, where nothing comes', async () => {
    const server = createServer(() => {})
    const url = `http://127.0.0.1:${await listen(server, 0)}`
    const undo = endSilence(50)
    const said: unknown[] = []
    const request = get(url).on('error', (error) => said.push(error))
    try {
      await expect.poll(() => said).toMatchObject([{ name: 'TimeoutError' }])
    } finally {
      undo()
      request.destroy()
      await close(server)
    }
  })

  it.skipIf(noLinux.length > 0)(
    `ends a process that has no limit of its own, as for credentials, with what it has started${skipped(noLinux)}`,
    async () => {
      const undo = endSilence(50)
      const warned: string[] = []
      const hear = ({ message }: Error) => void warned.push(message)
      process.on('warning', hear)
      const said: { error: unknown; child: number }[] = []
      // The child has the shell's output, and hears of no signal to the shell.
      const shell = exec('sleep 300 & echo $!; read line', (error, output) =>
        said.push({ error, child: Number(output) }),
      )
      try {
        await expect.poll(() => said).toMatchObject([{ error: { signal: 'SIGKILL' } }])
        // The SDK says only that it has found no credentials.
        expect(warned).toEqual(['A process for credentials has not ended within 50 ms, and is killed.'])
        const file = `/proc/${said[0]?.child}/cmdline`
        // Nothing, too, of one that has ended and whose parent has not asked for it.
        await expect.poll(() => (existsSync(file) ? readFileSync(file, 'utf8') : '')).toBe('')
      } finally {
        undo()
        process.off('warning', hear)
        shell.kill()
      }
    },
  )

  it.skipIf(noLinux.length > 0)(
    `is a folder that needs nothing but Node, of which the Dockerfile makes an image${skipped(noLinux)}`,
    async () => {
      const folder = newFolder()
      const [, libc] = /^linux(musl)?-/.exec(platformHere()) ?? []
      const arch = oneOf('this machine', ARCHITECTURES, process.arch)
      await buildProcess(folder, { arch, libc: libc === undefined ? 'glibc' : 'musl', heic: false }, () => {})
      const system = await startHere({ WORKER: 'off' })
      const imageId = await post(system.url, photo)
      launch({ ...besideOf(system.awsEndpoint), INIT_CWD: folder }, [], join(folder, 'index.mjs'))
      expect((await finished(system.url, imageId)).status).toBe('completed')

      const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')
      const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, files = '']) =>
        files.split(' '),
      )
      expect(copied.filter((file) => !existsSync(join(root, file)))).toEqual([])
      // Without the manifest of a workspace, npm would not take the lockfile.
      const { workspaces } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
      expect(copied).toEqual(expect.arrayContaining(workspaces.map((name: string) => `${name}/package.json`)))
      expect(dockerfile).toContain('build/process.ts')
      for (const [, image = ''] of dockerfile.matchAll(/^FROM (\S+)/gm))
        expect(image).toMatch(/:\S+@sha256:[0-9a-f]{64}$/)
    },
  )

  it('says in one sentence what is missing', async () => {
    const worker = launchWorker({
      ...{ AWS_REGION: 'us-east-1', BATCH_SIZE: '11', DRAIN_SECONDS: 'soon', IMAGE_BUCKETS: 'abc' },
    })
    await until('the end', async () => worker.process.exitCode ?? undefined)
    expect(worker.process.exitCode).toBe(1)
    const nothing = worker.output()
    for (const name of ['IMAGE_BUCKET', 'IMAGE_TABLE', 'JOB_QUEUE_URL', 'EVENT_BUS_NAME'])
      expect(nothing).toContain(name)
    expect(nothing).toMatch(
      /^warning: IMAGE_BUCKETS .* Did you mean IMAGE_BUCKET\?\nThe worker cannot start: Environment variables are missing or wrong\. .*\n$/,
    )
    expect(nothing).toMatch(/BATCH_SIZE: .*; DRAIN_SECONDS: /)

    // The others in this process.
    const system = await startHere({ WORKER: 'off' })
    const env = besideOf(system.awsEndpoint)
    const sqs = new SQSClient(sqsOptions({ endpoint: system.awsEndpoint, region: 'us-east-1', credentials }))
    expect(await refusalOf({ ...env, IMAGE_TABLE: 'another' })).toMatch(
      /^The worker cannot start: The table of IMAGE_TABLE, another, cannot be used: ResourceNotFoundException.*$/,
    )
    expect(await refusalOf({ ...env, IMAGE_BUCKET: 'another' })).toMatch(
      /^The worker cannot start: The bucket of IMAGE_BUCKET, another, cannot be used: NotFound\. docs\/worker\.md has the settings\.$/,
    )
    const forbidding = createServer((_, response) => response.writeHead(403).end())
    const s3 = `http://127.0.0.1:${await listen(forbidding, 0)}`
    onTestFinished(() => close(forbidding))
    expect(await refusalOf({ ...env, AWS_ENDPOINT_URL_S3: s3 })).toMatch(
      /, cannot be used: HTTP 403 \(S3 HeadBucket image-analyzer-images\)\. docs/,
    )
    expect(await refusalOf({ ...env, DEAD_LETTER_QUEUE_URL: `${env['JOB_QUEUE_URL']}-deed` })).toMatch(
      /^The worker cannot start: DEAD_LETTER_QUEUE_URL is \S+-jobs-deed, and the dead-letter queue of the jobs is image-analyzer-jobs-dead: set .*$/,
    )
    // As IAM answers where the policy names another bus; some answer so for the entry alone.
    const said = 'User: me is not authorized to perform: events:PutEvents on resource: another'
    const [ErrorCode, call] = ['AccessDeniedException', 'EventBridge PutEvents another']
    const denied = JSON.stringify({ __type: ErrorCode, Message: said })
    const entry = JSON.stringify({ FailedEntryCount: 1, Entries: [{ ErrorCode, ErrorMessage: said }] })
    const answers: [RequestListener, string][] = [
      [(_, response) => response.writeHead(400).end(denied), `${ErrorCode}: ${said} (${call})`],
      [(_, response) => response.end(entry), `${ErrorCode}: ${said}`],
      [({ socket }) => socket.destroy(), `TimeoutError: socket hang up (${call})`],
    ]
    for (const [answer, why] of answers) {
      const bus = createServer(answer)
      onTestFinished(() => close(bus))
      const AWS_ENDPOINT_URL_EVENTBRIDGE = `http://127.0.0.1:${await listen(bus, 0)}`
      const worker = launchWorker({ ...env, EVENT_BUS_NAME: 'another', AWS_ENDPOINT_URL_EVENTBRIDGE })
      const isAtWork = () => worker.output().includes('takes jobs') || undefined
      expect(await until('the end', async () => worker.process.exitCode ?? isAtWork())).toBe(1)
      expect(
        worker.output().replace(/^.*The event bus of EVENT_BUS_NAME, another, cannot be used: /, ''),
      ).toBe(`${why}. docs/worker.md has the settings.\n`)
    }
    const { port } = new URL(system.awsEndpoint)
    expect(await refusalOf({ ...env, HEALTH_PORT: port })).toBe(
      `The worker cannot start: Port ${port} is in use, perhaps by another image-analyzer; choose another with HEALTH_PORT=${Number(port) + 1}.`,
    )
    const { QueueUrl = '' } = await sqs.send(new CreateQueueCommand({ QueueName: 'another' }))
    expect(await refusalOf({ ...env, JOB_QUEUE_URL: QueueUrl })).toMatch(
      /^The worker cannot start: The visibility timeout of \S+ is 30 s and must be at least 6 × WORKER_TIMEOUT_SECONDS, which is 360 s: .*$/,
    )
    await sqs.send(new DeleteQueueCommand({ QueueUrl }))
    expect(await refusalOf({ ...env, JOB_QUEUE_URL: QueueUrl })).toMatch(
      /^The worker cannot start: The queue of JOB_QUEUE_URL, \S+, cannot be used: .*QueueDoesNotExist.*$/,
    )
    sqs.destroy()
  })
})
