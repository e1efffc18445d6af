import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  EventBridgeClient,
  PutEventsCommand,
  PutRuleCommand,
  PutTargetsCommand,
} from '@aws-sdk/client-eventbridge'
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { CreateQueueCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { describe, expect, it, onTestFinished } from 'vitest'
import { finished, until } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { newFolder, type Running, start } from '../started.ts'
import { refusal, startHere } from '../system.ts'
import { skipped, without } from '../tools.ts'

/** A picture with something behind it, which decoders pass over. */
const large = async (number: number): Promise<Uint8Array<ArrayBuffer>> =>
  new Uint8Array(Buffer.concat([await distinct(number), Buffer.alloc(3_000_000)]))

/** @returns whether a small file system is there, which not every user may mount */
const mounts = (folder: string): boolean =>
  spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=60m', 'tmpfs', folder]).status === 0

/** A small file system of its own. */
function mountSmall(): string {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-disk-'))
  onTestFinished(() => rmdirSync(folder))
  if (!mounts(folder)) throw new Error('It could be mounted a moment ago.')
  onTestFinished(() => void execFileSync('umount', [folder]))
  return folder
}

function mayMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-disk-'))
  const may = mounts(folder)
  if (may) execFileSync('umount', [folder])
  rmdirSync(folder)
  return may
}
const noMount = mayMount() ? [] : ['the right to mount']
const noLimit = without('prlimit')

/** @param room bytes to leave */
function fill(file: string, room = 0): void {
  const descriptor = openSync(file, 'a')
  const piece = Buffer.alloc(100_000)
  try {
    for (;;) {
      const { bavail, bsize } = statfsSync(file)
      if (bavail * bsize <= room) break
      writeSync(descriptor, piece)
    }
  } catch {
    // Full.
  } finally {
    closeSync(descriptor)
  }
}

interface Answer {
  status: number
  retryAfter: string | null
  body: { imageId?: string; code?: string; detail?: string }
}
async function post(url: string, bytes: Uint8Array<ArrayBuffer>): Promise<Answer> {
  const response = await fetch(`${url}/images`, {
    method: 'POST',
    headers: { 'content-type': 'image/png' },
    body: bytes,
  })
  const body = (await response.json()) as Answer['body']
  return { status: response.status, retryAfter: response.headers.get('retry-after'), body }
}

/** What the log says of trouble. */
const trouble = (system: Running): string[] => system.output().match(/^(warning|error|\s+at ).*$/gm) ?? []

const allCompleted = async (url: string, ids: string[]): Promise<void> => {
  for (const id of ids) expect(await finished(url, id)).toMatchObject({ status: 'completed' })
}

describe('npm start on a full disk', () => {
  it.skipIf(noMount.length > 0)(
    `answers 503, says so once, and completes all that it has accepted${skipped(noMount)}`,
    async () => {
      const disk = mountSmall()
      const ballast = join(disk, 'ballast')
      const DATA_DIR = join(disk, 'data')
      const system = await start({ DATA_DIR })
      const accepted: string[] = []
      const submit = async (number: number): Promise<Answer> => {
        const answer = await post(system.url, await large(number))
        if (answer.body.imageId !== undefined) accepted.push(answer.body.imageId)
        return answer
      }
      expect((await submit(0)).status).toBe(202)
      fill(ballast, 10_000_000)
      let last: Answer
      for (let number = 1; ; number += 1) {
        last = await submit(number)
        if (last.status !== 202) break
      }
      expect(last).toMatchObject({ status: 503, retryAfter: '5', body: { code: 'UNAVAILABLE' } })
      expect((await fetch(`${system.url}/health`)).status).toBe(200)
      expect((await fetch(`${system.url}/images/${accepted[0]}`)).status).toBe(200)
      expect(trouble(system)).toEqual([
        `warning: ${DATA_DIR} cannot be written: database or disk is full. Make room; what was accepted is kept, and nothing more is accepted until then.`,
      ])

      // Some work was under way.
      expect(await system.end('SIGKILL')).toBe('SIGKILL')
      fill(ballast)
      expect(await refusal({ DATA_DIR })).toBe(
        `The disk of ${DATA_DIR} has less than 10 MB left; make room, or set DATA_DIR to another folder.`,
      )
      rmSync(ballast)
      await allCompleted((await startHere({ DATA_DIR })).url, accepted)
    },
  )

  it.skipIf(noLimit.length > 0)(`goes on by itself when there is room again${skipped(noLimit)}`, async () => {
    const DATA_DIR = newFolder()
    const system = await start({ DATA_DIR })
    const before = (await post(system.url, new Uint8Array(await distinct(1)))).body.imageId ?? ''
    await allCompleted(system.url, [before])
    const target = {
      ...{ endpoint: system.aws, region: 'us-east-1', maxAttempts: 1 },
      credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
    }
    const sqs = new SQSClient(target)
    const s3 = new S3Client({ ...target, forcePathStyle: true })
    const events = new EventBridgeClient(target)
    onTestFinished(() => {
      for (const client of [sqs, s3, events]) client.destroy()
    })
    const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: 'mine' }))
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: 'kept' }))
    const receive = async () => {
      const MessageSystemAttributeNames = ['ApproximateReceiveCount' as const]
      return (await sqs.send(new ReceiveMessageCommand({ QueueUrl, MessageSystemAttributeNames }))).Messages
    }
    await events.send(new PutRuleCommand({ Name: 'mine', EventPattern: '{"source":["me"]}' }))
    const target1 = { Id: '1', Arn: 'arn:aws:sqs:us-east-1:000000000000:mine' }
    await events.send(new PutTargetsCommand({ Rule: 'mine', Targets: [target1] }))
    const entry = { Source: 'me', DetailType: 'news', Detail: '{}' }
    const announce = () => events.send(new PutEventsCommand({ Entries: [entry] }))
    const Bucket = 'image-analyzer-images'
    const store = () => s3.send(new PutObjectCommand({ Bucket, Key: 'mine', Body: 'mine' }))
    const picture = new Uint8Array(await distinct(2))
    const setLimit = (bytes: string) =>
      execFileSync('prlimit', ['--pid', String(system.process.pid), `--fsize=${bytes}:`])
    const accepted = [before]
    const makeRoom = async () => {
      setLimit('unlimited')
      accepted.push(
        await until('there is room again', async () => (await post(system.url, picture)).body.imageId),
      )
      // No other work is under way that could meet the next trouble first.
      await allCompleted(system.url, accepted)
    }

    // No file can be written any more, as if the disk were full. Each of these is the first to meet it once.
    const full = { name: 'InsufficientStorage', $metadata: { httpStatusCode: 507 } }
    for (const meet of [receive, store, announce]) {
      setLimit('0')
      await expect(meet()).rejects.toMatchObject(full)
      await makeRoom()
    }
    // What had left its queue before that could be written down is back, and no event is there that was refused.
    expect(await receive()).toMatchObject([{ Body: 'kept', Attributes: { ApproximateReceiveCount: '1' } }])
    expect(await receive()).toBe(undefined)
    await store()
    await announce()
    expect(await receive()).toMatchObject([{ Body: expect.stringContaining('news') }])

    setLimit('0')
    expect(await post(system.url, picture)).toMatchObject({ status: 503, body: { code: 'UNAVAILABLE' } })
    for (const other of [receive, store, announce]) await expect(other()).rejects.toMatchObject(full)
    expect((await fetch(`${system.url}/images/${before}`)).status).toBe(200)
    await makeRoom()
    const cannot = expect.stringMatching(`^warning: ${DATA_DIR} cannot be written: [^.]+. Make room; `)
    const can = `warning: ${DATA_DIR} can be written again.`
    expect(trouble(system)).toEqual([cannot, can, cannot, can, cannot, can, cannot, can])
    expect(await system.end('SIGTERM')).toBe(0)
    await allCompleted((await startHere({ DATA_DIR })).url, accepted)
  })
})
