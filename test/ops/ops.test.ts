import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import {
  CreateQueueCommand,
  PurgeQueueCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import { DeleteCommand, PutCommand } from '@aws-sdk/lib-dynamodb'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { type Chosen, cancel, countFailures, quotaOf } from '../../ops/images.ts'
import { type LetterChoice, redriveChosen } from '../../ops/letters.ts'
import { redrive } from '../../ops/queue.ts'
import { imageIdSchema } from '../../shared/image.ts'
import { startTestSystem, type TestSystem } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { NODE, noFull, skipped } from '../tools.ts'
import { type Instead, operatorOf } from './operator.ts'

/** The operator's commands against the embedded AWS. test/ops/runbook.test.ts has pause and resume, and runs them by npm. */

const root = join(import.meta.dirname, '../..')
const photo = readFileSync(join(import.meta.dirname, '../fixtures/grace-hopper.jpg'))

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
  await system.worker.sqs.send(new CreateQueueCommand({ QueueName: 'half-jobs' }))
})
afterAll(() => system?.stop())

const { environment, ops, behind } = operatorOf(() => system)

const refusingFirst =
  (refused: string[]): Instead =>
  async (operation, body, pass) => {
    if (!refused.includes(operation)) return undefined
    const { Entries, ...rest } = JSON.parse(body)
    const [{ Id }, ...others] = Entries
    const answer = await pass(JSON.stringify({ ...rest, Entries: others }))
    const { Successful = [] } = Object(await answer.json())
    return Response.json({
      Successful,
      Failed: [{ Id, Code: 'Internal', Message: 'Not now.', SenderFault: false }],
    })
  }

const noCredentials = {
  ...{ AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined, AWS_EC2_METADATA_DISABLED: 'true' },
  ...{ AWS_SHARED_CREDENTIALS_FILE: '/none', AWS_CONFIG_FILE: '/none', AWS_PROFILE: undefined },
}
const cut = (bytes: number): Buffer => photo.subarray(0, bytes)
const statusOf = async (imageId: string) => (await system.item(imageId))['status']

describe('npm run ops --', () => {
  it('failures groups failed images by their code, and retry begins the next run of those that fit', async () => {
    const corrupt = [await system.submit(cut(20_000)), await system.submit(cut(21_000))]
    const small = await system.submit(await distinct(1, 40, 40))
    const good = await system.submit(await distinct(2))
    await system.work()
    await system.setItem(corrupt[0] ?? '', { completedAt: new Date(Date.now() + 1_000).toISOString() })
    const counted = await ops(['failures', '--json'])
    expect(counted.results).toMatchObject([
      // The newest first.
      { code: 'CORRUPT_IMAGE', images: 2, samples: corrupt, message: expect.any(String) },
      { code: 'IMAGE_TOO_SMALL', images: 1, samples: [small] },
    ])
    expect(counted.code).toBe(0)

    const dry = await ops(['retry', '--code', 'CORRUPT_IMAGE', '--dry-run'])
    expect(dry).toMatchObject({
      code: 0,
      out: '',
      err: expect.stringMatching(/^image-analyzer in us-east-1, account 0+: 2 failed images .* --dry-run/),
    })
    const unsure = await ops(['retry', '--code', 'CORRUPT_IMAGE'])
    expect(unsure).toMatchObject({ code: 2, err: expect.stringContaining('add --yes') })
    expect(await Promise.all(corrupt.map(statusOf))).toEqual(['failed', 'failed'])

    const retried = await ops(['retry', '--code', 'CORRUPT_IMAGE', '--since', '1h', '--yes', '--json'])
    expect(retried.results.map(({ imageId }) => imageId).sort()).toEqual(corrupt.toSorted())
    expect(await Promise.all([...corrupt, small, good].map(statusOf))).toEqual([
      ...['pending', 'pending', 'failed', 'completed'],
    ])
    // Broken off and called again, it would not choose these once more.
    expect(await ops(['retry', '--code', 'CORRUPT_IMAGE', '--yes'])).toMatchObject({
      ...{ code: 2, err: expect.stringContaining('No failed image matches') },
    })
    await system.work()
    expect(await Promise.all(corrupt.map(statusOf))).toEqual(['failed', 'failed'])
    expect((await system.item(corrupt[0] ?? ''))['epoch']).toBe(2)
    const late = new Date(Date.now() + 60_000).toISOString()
    expect((await ops(['failures', '--since', late])).err).toContain('No image has failed.')
    expect((await ops(['cost', '--json'])).results).toMatchObject([{ calls: 0, usd: 0 }])
  })

  it('failures tells causes of one code apart, and passes over numbers in them', async () => {
    const failed = (imageId: string, code: string, message: string, completedAt: string) => ({
      ...{ imageId, owner: 'me', createdAt: '2026-01-01', completedAt, failure: { code, message } },
    })
    const refused = 'Rekognition refused the image: '
    async function* images() {
      yield failed('a', 'ANALYSIS_REFUSED', `${refused}InvalidParameterException.`, '2026-01-02')
      yield failed('b', 'CORRUPT_IMAGE', 'The file has 10 bytes; 12 were announced.', '2026-01-03')
      yield failed('c', 'ANALYSIS_REFUSED', `${refused}ImageTooLargeException.`, '2026-01-04')
      yield failed('d', 'CORRUPT_IMAGE', 'The file has 7 bytes; 9 were announced.', '2026-01-05')
      yield failed('e', 'ANALYSIS_REFUSED', `${refused}InvalidParameterException.`, '2026-01-06')
      yield failed('f', 'ANALYSIS_REFUSED', `${refused}InvalidParameterException.`, '2026-01-01')
    }
    const groups = await countFailures(images() as AsyncGenerator<Chosen>)
    expect(groups.map(({ images, message, samples }) => [images, message, samples.join('')])).toEqual([
      [3, `${refused}InvalidParameterException.`, 'eaf'],
      [2, 'The file has 7 bytes; 9 were announced.', 'db'],
      [1, `${refused}ImageTooLargeException.`, 'c'],
    ])
  })

  it('failures says of images that were given up what AWS said, where the record has it', async () => {
    const trouble = { attempt: 10, name: 'AccessDenied', message: 'The role may not s3:GetObject.' }
    const [told, silent] = [await system.submit(await distinct(12)), await system.submit(await distinct(13))]
    await system.setItem(told, { attempts: 10, trouble })
    await system.setItem(silent, { attempts: 10 })
    await system.work()
    const { results } = await ops(['failures', '--code', 'EXHAUSTED', '--json'])
    const whole = 'AccessDenied: The role may not s3:GetObject.'
    expect(results.find(({ samples }) => samples.includes(told))).toMatchObject({ images: 1, trouble: whole })
    expect(results.find(({ samples }) => samples.includes(silent))).not.toHaveProperty('trouble')
    expect((await ops(['failures', '--code', 'EXHAUSTED'])).out).toContain(
      `(the last attempt met AccessDenied); try again later.\n         ${whole}\n         ${told}\n`,
    )
    for (const imageId of [told, silent]) await system.app.request(`/images/${imageId}`, { method: 'DELETE' })
    // A job for the next run of each is there.
    expect(await system.deadLetters()).toHaveLength(2)
  })

  it('quota counts what waits, and apart what of it Rekognition has throttled and what waits for the budget', async () => {
    const ids = await Promise.all([6, 7, 8].map(async (number) => system.submit(await distinct(number))))
    const [parked = '', late = '', early = ''] = ids
    const taken = { status: 'processing', leaseId: 'x', leaseUntil: 0, attempts: 4, throttled: 3 }
    const ago = (ms: number): string => new Date(Date.now() - ms).toISOString()
    const waits = { for: 'quota', until: ago(0) }
    const [newer, older] = [{ labels: 4.7 }, { labels: 9, faces: 5 }]
    const leaseUntil = Date.now() + 60_000
    await system.setItem(late, { ...taken, leaseUntil, updatedAt: ago(3_500_000), waits, rates: newer })
    await system.setItem(early, { ...taken, updatedAt: ago(3_700_000), waits, rates: older })
    await system.setItem(parked, { ...taken, waits: { ...waits, for: 'budget' } })
    const counts = { waiting: 2, inWork: 1, throttled: 2, lastHour: 1, overBudget: 1 }
    // Of each analysis what was learned last.
    expect(await quotaOf(system.worker)).toEqual({ ...counts, rates: { labels: 4.7, faces: 5 } })
    expect((await ops(['quota'])).out).toContain('allows itself 4.7 of labels, 5 of faces a second')
    await system.setItem(late, { leaseUntil: 0 })
    await system.work()
    const none = { waiting: 0, inWork: 0, throttled: 0, lastHour: 0, overBudget: 0, rates: {} }
    expect(await quotaOf(system.worker)).toEqual(none)
    expect(await system.item(late)).not.toHaveProperty('rates')
  })

  it('cancel deletes what waits of one owner, and nothing else', async () => {
    const done = await system.submit(await distinct(3))
    await system.work()
    const [waiting, parked, inWork] = [
      await system.submit(await distinct(4)),
      await system.submit(await distinct(9)),
      await system.submit(await distinct(10)),
    ]
    const taken = { status: 'processing', leaseId: 'x', leaseUntil: 0, attempts: 1, throttled: 1 }
    await system.setItem(parked, taken)
    await system.setItem(inWork, { ...taken, leaseUntil: Date.now() + 600_000 })
    const { owner } = await system.item(waiting)
    const hash = createHash('sha256').update(String(owner)).digest('hex').slice(0, 16)
    expect(await ops(['cancel', '--owner-hash', '0123456789abcdef', '--yes'])).toMatchObject({
      ...{ code: 2, err: expect.stringMatching(/^No image that waits matches; .* quota /) },
    })
    expect(await statusOf(waiting)).toBe('pending')
    const looked = await ops(['cancel', '--owner-hash', hash, '--dry-run'])
    expect(looked.err).toMatch(/: 2 waiting images will be deleted/)
    const cancelled = await ops(['cancel', '--owner-hash', hash, '--yes', '--json'])
    expect(cancelled.results).toEqual([waiting, parked].map((imageId) => ({ imageId, cancelled: true })))
    expect(await Promise.all([waiting, parked, done, inWork].map(statusOf))).toEqual([
      ...['deleted', 'deleted', 'completed', 'processing'],
    ])
    await system.setItem(inWork, { leaseUntil: 0 })
    // Its job ends quietly.
    await system.work()
  })

  const failure = { code: 'CORRUPT_IMAGE', message: 'It is damaged.' }
  it.each([
    ['is taken up', 'pending', { status: 'processing', attempts: 1, leaseUntil: 8e15 }],
    ['is taken up again', 'processing', { attempts: 2, leaseUntil: 8e15 }],
    ['fails', 'pending', { status: 'failed', attempts: 1, failure, completedAt: '2026-01-31T12:00:00Z' }],
  ])('cancel leaves what %s between its look and its write', async (_, status, meanwhile) => {
    const { dynamo, table } = system.worker
    const imageId = imageIdSchema.parse(await system.submit(await distinct(11)))
    await system.receiveJobs()
    await system.setItem(imageId, {
      status,
      leaseId: 'x',
      leaseUntil: 0,
      attempts: status === 'pending' ? 0 : 1,
    })
    const send: typeof dynamo.send = async (command: object) => {
      if (command instanceof PutCommand) await system.setItem(imageId, meanwhile)
      return dynamo.send(command as never)
    }
    expect(await cancel({ ...system.worker, dynamo: { send } as never }, { imageId } as never)).toBe(false)
    expect(await system.item(imageId)).toMatchObject(meanwhile)
    await dynamo.send(new DeleteCommand({ TableName: table, Key: { imageId } }))
  })

  it('redrive moves dead letters to the jobs', async () => {
    const { sqs, deadLetterQueueUrl } = system.worker
    const MessageBody = '{"version":1,"imageId":"01a20f3c-366e-734c-99ed-0d5fffb2c168","epoch":2}'
    await sqs.send(new SendMessageCommand({ QueueUrl: deadLetterQueueUrl, MessageBody }))
    const jobs = async (): Promise<number> => (await ops(['quota', '--json'])).results[0].jobs
    const before = await jobs()
    expect((await ops(['redrive', '--yes', '--json'])).results).toEqual([{ moved: 1 }])
    expect(await jobs()).toBe(before + 1)
    expect(await system.deadLetters()).toEqual([])
    expect((await system.receiveJobs()).Records.map(({ body }) => body)).toEqual([MessageBody])
    expect(await ops(['redrive', '--yes'])).toMatchObject({
      code: 2,
      err: expect.stringMatching(/no dead letters/),
    })
  })

  it('redrive moves a part of them, by the code of the image or by their age, and shows the rest again', async () => {
    const { sqs, deadLetterQueueUrl } = system.worker
    const exhausted = await system.submit(await distinct(5))
    await system.setItem(exhausted, { attempts: 10 })
    await system.work()
    expect(await statusOf(exhausted)).toBe('failed')
    vi.useFakeTimers({ toFake: ['Date'] })
    await sqs.send(new SendMessageCommand({ QueueUrl: deadLetterQueueUrl, MessageBody: 'no job' }))
    const [hourAgo, now] = [-3_600_000, 0].map((ms) => new Date(Date.now() + ms).toISOString())
    vi.useRealTimers()
    const redriven = async (choice: LetterChoice, isConfirmed = true) => {
      const asked: number[] = []
      const { moved } = await redriveChosen(system.worker, deadLetterQueueUrl, choice, async (...counts) => {
        asked.push(...counts)
        return isConfirmed
      })
      return [moved, ...asked]
    }
    expect(await redriven({ code: 'EXHAUSTED', before: hourAgo })).toEqual([0, 0, 2])
    expect(await redriven({ code: 'CORRUPT_IMAGE' })).toEqual([0, 0, 2])
    expect(await redriven({ before: now }, false)).toEqual([0, 2, 2])
    expect((await ops(['redrive', '--code', 'EXHAUSTED', '--yes', '--json'])).results).toEqual([{ moved: 1 }])
    const aborted = AbortSignal.abort()
    await expect(
      redriveChosen(system.worker, deadLetterQueueUrl, { before: now }, async () => true, aborted),
    ).rejects.toThrow('aborted')
    expect(await system.deadLetters()).toEqual(['no job'])
    await system.work()
    expect(await system.item(exhausted)).toMatchObject({ status: 'completed', epoch: 2 })

    await sqs.send(new SendMessageCommand({ QueueUrl: deadLetterQueueUrl, MessageBody: 'no job' }))
    await sqs.send(new ReceiveMessageCommand({ QueueUrl: deadLetterQueueUrl, VisibilityTimeout: 900 }))
    // SQS may still be at it when it is first asked; the command says so far how many then.
    for (const choice of [[], ['--older-than', '0m']])
      expect(await ops(['redrive', ...choice, '--yes'])).toMatchObject({
        ...{ code: 2, out: '', err: expect.stringMatching(/^(?:0 of 1\n)*The dead letters are hidden/) },
      })
  })

  it('redrive says what SQS has refused of a call, and where it is now', async () => {
    const { sqs, deadLetterQueueUrl: QueueUrl } = system.worker
    const MessageBody = '{"version":1,"imageId":"01a20f3c-366e-734c-99ed-0d5fffb2c168","epoch":3}'
    /** With four letters, and the first of each call of these operations refused. */
    const redriven = async (...operations: string[]) => {
      for (let count = 0; count < 4; count += 1)
        await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }))
      return behind(refusingFirst(operations), async (AWS_ENDPOINT_URL) => {
        const { code, err, results } = await ops(['redrive', '--older-than', '0m', '--yes', '--json'], {
          AWS_ENDPOINT_URL,
        })
        const dead = await system.deadLetters()
        const { Records } = await system.receiveJobs()
        return { code, err, results, dead: dead.length, jobs: Records.length }
      })
    }
    expect(await redriven('SendMessageBatch')).toEqual({
      ...{ code: 1, results: [{ moved: 3, refused: 1 }], dead: 1, jobs: 3 },
      err: 'SQS has refused 1, which stay dead letters: Not now.\n',
    })
    expect(await redriven('DeleteMessageBatch')).toEqual({
      ...{ code: 1, results: [{ moved: 4, doubled: 1 }], dead: 0, jobs: 4 },
      err: expect.stringMatching(/^SQS has not deleted 1 of those moved, .*: Not now\.\n$/),
    })
    expect(await redriven('SendMessageBatch', 'ChangeMessageVisibilityBatch')).toEqual({
      ...{ code: 1, results: [{ moved: 3, refused: 1, hidden: 1 }], dead: 0, jobs: 3 },
      err: expect.stringMatching(
        /stay dead letters: .*\nSQS keeps 1 dead letter hidden for .*: Not now\.\n$/,
      ),
    })
    // Also where none of them is meant.
    await sqs.send(new PurgeQueueCommand({ QueueUrl }))
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }))
    const unmet = await behind(refusingFirst(['ChangeMessageVisibilityBatch']), (AWS_ENDPOINT_URL) =>
      ops(['redrive', '--code', 'EXHAUSTED', '--yes'], { AWS_ENDPOINT_URL }),
    )
    expect([unmet.code, unmet.err]).toEqual([
      2,
      expect.stringMatching(/^SQS keeps 1 dead letter hidden .*\nNone of 1 dead letter matches\./),
    ])
    await sqs.send(new PurgeQueueCommand({ QueueUrl }))
  })

  it('redrive says how far SQS is, and that SQS goes on where the operator does not', async () => {
    const ending = new AbortController()
    const counts: number[] = []
    const task = (Status: string, moved: number) => ({
      Results: [{ Status, ApproximateNumberOfMessagesMoved: moved }],
    })
    const answers = [{}, task('RUNNING', 3), task('RUNNING', 7), task('COMPLETED', 9)]
    const sqs = { send: async () => answers.shift() } as unknown as SQSClient
    expect(await redrive(sqs, 'from', 'to', (moved) => counts.push(moved), ending.signal)).toBe(9)
    expect(counts).toEqual([3, 7])
    answers.push({}, task('RUNNING', 1))
    const end = () => ending.abort(new Error('the operator has gone'))
    await expect(redrive(sqs, 'from', 'to', end, ending.signal)).rejects.toThrow('the operator has gone')
  })

  it('redrive says why SQS gave it up', async () => {
    const Results = [{ Status: 'FAILED', FailureReason: 'AWS.SimpleQueueService.NonExistentQueue' }]
    const sqs = { send: async () => ({ Results }) } as unknown as SQSClient
    const { signal } = new AbortController()
    await expect(redrive(sqs, 'from', 'to', () => {}, signal)).rejects.toThrow(
      /^SQS gave up the redrive: .*NonExistentQueue\.$/,
    )
  })

  it('a retry that was killed is called again, and begins one run of each image', async () => {
    const cuts = [30_000, 31_000, 32_000]
    const ids = await Promise.all(cuts.map((bytes) => system.submit(cut(bytes))))
    await system.work()
    expect(await Promise.all(ids.map(statusOf))).toEqual(['failed', 'failed', 'failed'])
    const ended = await Promise.all(ids.map(async (id) => String((await system.item(id))['completedAt'])))
    const [since = ''] = ended.toSorted()
    const command = ['retry', '--code', 'CORRUPT_IMAGE', '--since', since, '--yes', '--json']
    const child = spawn(process.execPath, [...NODE, 'ops/main.ts', ...command, '--rate', '1'], {
      cwd: root,
      env: { ...process.env, ...environment() },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'close')
    const statuses = await Promise.all(ids.map(statusOf))
    expect(statuses.toSorted()).toEqual(['failed', 'failed', 'pending'])
    expect((await ops(command)).results).toHaveLength(2)
    await system.work()
    const items = await Promise.all(ids.map((imageId) => system.item(imageId)))
    expect(items.map(({ status, epoch }) => [status, epoch])).toEqual(ids.map(() => ['failed', 2]))
  })

  it.skipIf(noFull.length > 0)(
    `ends as a shell expects where its reader has gone, and says that a disk is full${skipped(noFull)}`,
    async () => {
      const shell = async (command: string) => {
        const ops = [process.execPath, ...NODE, 'ops/main.ts']
        const child = spawn('sh', ['-c', command, 'sh', ...ops], {
          cwd: root,
          stdio: ['ignore', 'pipe', 'pipe'],
        })
        const [err, [code]] = await Promise.all([text(child.stderr), once(child, 'close')])
        return { code, err }
      }
      const [gone, full, deaf] = await Promise.all([
        shell('{ "$@" --help; echo $? >&2; } | true'),
        shell('"$@" --help > /dev/full'),
        shell('"$@" failurs 2> /dev/full'),
      ])
      expect(gone.err).toBe('141\n')
      expect(full).toEqual({
        code: 1,
        err: expect.stringMatching(/^The results cannot be written: ENOSPC.*\n$/),
      })
      expect(deaf.code).toBe(2)
    },
  )

  it('takes no more images a second than --rate says', async () => {
    for (const bytes of [43_000, 44_000, 45_000]) await system.submit(cut(bytes))
    await system.work()
    const pauses: number[] = []
    // Ends the command where it waits, and is no trouble where it does not.
    const refuse = (ms: number) => {
      pauses.push(ms)
      const then: Promise<void>['then'] = (_, refused) => Promise.reject(new Error('no pause')).catch(refused)
      return { then } as Promise<void>
    }
    const command = ['retry', '--code', 'CORRUPT_IMAGE', '--since', '9h', '--yes', '--json']
    const paused = await ops([...command, '--rate', '2'], {}, () => {}, refuse)
    expect(paused).toMatchObject({ code: 1, err: expect.stringMatching(/^2 of \d+\nError: no pause/) })
    expect(paused.results).toHaveLength(2)
    expect(pauses).toEqual([1_000])
    expect(await ops(command)).toMatchObject({ code: 0 })
    await system.work()
  })

  it('Ctrl-C lets what has begun end, and the same command continues with what is left', async () => {
    for (const bytes of [40_000, 41_000, 42_000]) await system.submit(cut(bytes))
    await system.work()
    const command = ['retry', '--code', 'CORRUPT_IMAGE', '--since', '9h', '--yes', '--json']
    const before = process.listenerCount('SIGINT')
    const interrupted = await ops([...command, '--rate', '1'], {}, () =>
      process.listeners('SIGINT').at(-1)?.('SIGINT'),
    )
    expect(interrupted).toMatchObject({ code: 2, results: [{ retried: true }] })
    expect(interrupted.err).toMatch(
      /^1 of \d+\nBroken off; run the same command again to continue with what is left\.\n$/,
    )
    expect(process.listenerCount('SIGINT')).toBe(before)
    const [, all] = /of (\d+)/.exec(interrupted.err) ?? []
    expect((await ops(command)).results).toHaveLength(Number(all) - 1)
    await system.work()
  })

  describe('says in one sentence what AWS does not let the operator do, and asks for no more:', () => {
    beforeAll(async () => {
      const images = [cut(22_000), cut(23_000)]
      for (const image of images) await system.submit(image)
      await system.work()
      await system.submit(await distinct(100))
      const { sqs, deadLetterQueueUrl: QueueUrl } = system.worker
      await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: 'no job' }))
    })
    it.each<[string, string[]]>([
      ['failures', ['GetQueueUrl', 'Scan']],
      ['cost', ['GetItem']],
      ['quota', ['Scan']],
      ['retry --since 9h --yes', ['Scan', 'GetItem', 'UpdateItem', 'SendMessage']],
      ['cancel --since 9h --yes', ['Scan', 'GetItem', 'PutItem']],
      ['redrive --older-than 0m --yes', ['GetQueueAttributes', 'ReceiveMessage', 'SendMessageBatch']],
      ['redrive --yes', ['StartMessageMoveTask']],
      ['pause --yes', ['GET /2015-03-31/event-source-mappings/']],
    ])('%s', async (command, operations) => {
      for (const denied of operations) {
        let times = 0
        const deny: Instead = async (operation) => {
          if (operation !== denied) return undefined
          times += 1
          const message = `User: arn:aws:iam::1:user/night is not authorized to perform: ${denied}`
          const type = { __type: 'com.amazon.coral.service#AccessDeniedException' }
          return Response.json({ ...type, message }, { status: denied === 'Scan' ? 400 : 403 })
        }
        const { code, err } = await behind(deny, (endpoint) =>
          ops(command.split(' '), { AWS_ENDPOINT_URL: endpoint, AWS_ENDPOINT_URL_LAMBDA: endpoint }),
        )
        expect(err.split('\n').at(-2), denied).toMatch(
          /^AWS does not let you do this: .*User: \S+ is not authorized to perform: .+/,
        )
        expect(err.match(/not authorized/g), err).toHaveLength(1)
        expect([code, times > 0, / at \S+:\d+/.test(err)]).toEqual([2, true, false])
      }
    })
  })

  it('pause finds the worker on any page, waits while it changes, and asks again where Lambda is too busy', async () => {
    const mapping = { UUID: 'one', State: 'Updating' }
    const asked: string[] = []
    const answers = [
      Response.json({ EventSourceMappings: [], NextMarker: 'more' }),
      Response.json({ message: 'Rate exceeded' }, { status: 429 }),
      Response.json({ EventSourceMappings: [mapping] }),
      Response.json({ ...mapping, State: 'Enabled' }),
      Response.json({ ...mapping, State: 'Disabling' }),
      Response.json({ ...mapping, State: 'Disabled' }),
    ]
    const lambda: Instead = async (operation) => {
      if (!operation.includes('/2015-03-31/')) return undefined
      asked.push(operation.replace('/2015-03-31/event-source-mappings/', ''))
      return answers.shift()
    }
    const paused = await behind(lambda, (endpoint) =>
      ops(['pause', '--yes'], { AWS_ENDPOINT_URL_LAMBDA: endpoint }),
    )
    expect(paused).toMatchObject({ code: 0, out: 'Disabled  one\n', err: 'Updating …\nDisabling …\n' })
    expect(asked).toEqual(['GET ', 'GET ', 'GET ', 'GET one', 'PUT one', 'GET one'])
    answers.push(Response.json({ EventSourceMappings: [{ ...mapping, State: 'Disabled' }] }))
    const looked = await behind(lambda, (endpoint) =>
      ops(['resume', '--dry-run'], { AWS_ENDPOINT_URL_LAMBDA: endpoint }),
    )
    expect(looked.err).toMatch(/Its event source mapping is Disabled now\. Nothing was done/)
  })

  it.each<[string, string, string, string[]]>([
    ['Scan', 'ProvisionedThroughputExceededException', 'The level is exceeded.', ['failures']],
    ['GetQueueUrl', 'RequestThrottled', 'Request is throttled.', ['failures']],
    [
      'GET /2015-03-31/event-source-mappings/',
      'TooManyRequestsException',
      'Rate exceeded',
      ['pause', '--yes'],
    ],
  ])('says in one sentence that AWS throttles %s', async (throttled, type, message, command) => {
    // Of the SDK's pauses.
    const random = vi.spyOn(Math, 'random').mockReturnValue(0)
    onTestFinished(() => random.mockRestore())
    let times = 0
    const throttle: Instead = async (operation) => {
      if (operation !== throttled) return undefined
      times += 1
      return Response.json(
        { __type: `com.amazonaws#${type}`, message },
        { status: throttled.startsWith('GET ') ? 429 : 400 },
      )
    }
    const { code, err } = await behind(throttle, (endpoint) =>
      ops(command, { AWS_ENDPOINT_URL: endpoint, AWS_ENDPOINT_URL_LAMBDA: endpoint }),
    )
    expect(code).toBe(1)
    expect(err).toMatch(
      /^AWS throttles the command, also when it asks again: .*\. Run it again in a minute\.\n$/,
    )
    expect(err).toContain(message.replace('.', ''))
    expect(times).toBeGreaterThan(3)
  })

  it('says in one sentence that no answer comes', async () => {
    const over = AbortSignal.abort(new DOMException('The operation was aborted', 'TimeoutError'))
    const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(over)
    const { code, err } = await ops(['pause', '--yes']).finally(() => timeout.mockRestore())
    expect([code, err]).toEqual([1, expect.stringMatching(/^AWS does not answer in time\. .*\n$/)])
  })

  it('says in one sentence that nothing answers', async () => {
    const runs = [
      await ops(['quota'], { AWS_ENDPOINT_URL: 'http://127.0.0.1:9' }),
      await ops(['quota'], { AWS_ENDPOINT_URL: 'here' }),
      await ops(['pause', '--yes'], { AWS_ENDPOINT_URL_LAMBDA: 'http://127.0.0.1:9' }),
    ]
    expect(
      runs.map(({ err }) => /^AWS cannot be reached: (.*)\. AWS_ENDPOINT_URL .*\n$/.exec(err)?.[1]),
    ).toEqual([...['connect ECONNREFUSED 127.0.0.1:9', 'Invalid URL', 'bad port']])
    expect(runs.map(({ code }) => code)).toEqual([1, 1, 1])
  })

  it.each([
    ['a page', () => new Response('<!DOCTYPE html>')],
    ['a problem', () => Response.json({ code: 'METHOD_NOT_ALLOWED' }, { status: 405 })],
  ])('says in one sentence that what answers, with %s, is not AWS', async (_, answer) => {
    const { code, err } = await behind(
      async () => answer(),
      (endpoint) => ops(['quota'], { AWS_ENDPOINT_URL: endpoint }),
    )
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(/^What answers is not AWS\. AWS_ENDPOINT_URL .*\n$/),
    ])
  })

  it.each<[string, string[], Record<string, string | undefined>, RegExp]>([
    ['an unknown command', ['constructor'], {}, /^There is no command "constructor"/],
    [
      'an unknown code',
      ['failures', '--code', 'BAD'],
      {},
      /^--code must be one of CORRUPT_IMAGE, .* not "BAD"/,
    ],
    ['an option of another command', ['failures', '--rate', '5'], {}, /^"failures" has no option --rate/],
    ['a retry of everything', ['retry'], {}, /^"retry" needs --code or --since/],
    ['a time that is none', ['redrive', '--older-than', '5'], {}, /^--older-than must be like 30m, .* "5"/],
    ['a shell where NAME is not set', ['quota', '--name', ''], {}, /^--name is empty: export NAME=/],
    [
      'another deployment',
      ['redrive', '--name', 'other'],
      {},
      /^There is no queue other-jobs in us-east-1 of this account: AWS_REGION, .* terraform apply makes it/,
    ],
    [
      'a deployment without its table',
      ['quota', '--name', 'half'],
      {},
      /^There is no table half-images in us-/,
    ],
    [
      'an operator whose profile gives no credentials',
      ['failures'],
      { ...noCredentials, AWS_PROFILE: 'night' },
      /^There are no AWS credentials by AWS_PROFILE=night: Could not load credentials/,
    ],
    [
      'an operator without credentials',
      ['failures'],
      noCredentials,
      /^There are no AWS credentials: set AWS_PROFILE, .* has those of npm start/,
    ],
  ])('says what would be right to %s', async (_, args, env, message) => {
    expect(await ops(args, env)).toMatchObject({ code: 2, out: '', err: expect.stringMatching(message) })
  })
})
