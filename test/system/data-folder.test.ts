import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { EventBridgeClient, PutRuleCommand } from '@aws-sdk/client-eventbridge'
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { finished } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { launch, newFolder, post, ready, start } from '../started.ts'
import { refusal, startHere, startSystem } from '../system.ts'
import { SILENT, skipped, without } from '../tools.ts'

const noProc = existsSync('/proc/self') ? [] : ['/proc']

/** Whether a start takes this folder: the records that it shows then, or the sentence that it refuses it with. */
async function startWith(DATA_DIR: string): Promise<string[] | string> {
  const env = { REKOGNITION: 'stand-in', DATA_DIR, PORT: '0', AWS_PORT: '0', INIT_CWD: import.meta.dirname }
  const system = await startSystem(env, SILENT).catch((error: Error) => error.message)
  if (typeof system === 'string') return system
  try {
    const answer = await fetch(`${system.url}/images`)
    const { items } = (await answer.json()) as { items: { imageId: string }[] }
    return items.map(({ imageId }) => imageId).sort()
  } finally {
    await system.stop()
  }
}

const modesIn = (folder: string): Record<string, string> =>
  Object.fromEntries(
    ['.', ...readdirSync(folder)].map((name) => [
      name,
      (statSync(join(folder, name)).mode & 0o777).toString(8),
    ]),
  )

/** Other bytes in place of some bytes of a file, counted from its end where `at` is negative. */
function spoil(file: string, at: number, bytes: number): void {
  const content = readFileSync(file)
  const from = at < 0 ? content.length + at : at
  writeFileSync(
    file,
    content.map((byte, index) => (index >= from && index < from + bytes ? byte ^ 0xa5 : byte)),
  )
}

it.each(['ttl.json', 'secret', 'log.jsonl'])('a folder in the place of %s is no file', async (name) => {
  const folder = newFolder()
  mkdirSync(join(folder, name))
  expect(await startWith(folder)).toBe(`${join(folder, name)} is not a file. Move it away.`)
})

/** Of the database, and of a frame of its log: a page behind a header. */
const PAGE_BYTES = 16_384
const FRAME_BYTES = 24 + PAGE_BYTES

/** Of a run that was killed, with its log, and of one that stopped in order. */
let killed = ''
let ended = ''
let ids: string[] = []

beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-folder-'))
  ;[killed, ended] = [join(folder, 'killed'), join(folder, 'ended')]
  const system = launch({ DATA_DIR: killed })
  const { url } = await ready(system)
  for (let number = 0; number < 3; number += 1) ids.push(await post(url, await distinct(number)))
  ids = ids.sort()
  for (const id of ids) await finished(url, id)
  await system.end('SIGKILL')
  cpSync(killed, ended, { recursive: true })
  await startWith(ended)
  return () => rmSync(folder, { recursive: true })
})

const copyOf = (folder: string): string => {
  const copy = join(newFolder(), 'data')
  cpSync(folder, copy, { recursive: true })
  return copy
}

describe('a data folder', () => {
  const FILES = [
    ...['eventbridge.json', 'fauxqs.db', 'fauxqs.db-shm', 'fauxqs.db-wal', 'lock.db', 'log.jsonl', 'secret'],
    'ttl.json',
  ]

  it('is for its owner alone, also what an earlier version has left open', async () => {
    const expected = { '.': '700', ...Object.fromEntries(FILES.map((name) => [name, '600'])) }
    expect(modesIn(killed)).toMatchObject(expected)
    expect(new Set(Object.values(modesIn(killed)))).toEqual(new Set(['700', '600']))
    const DATA_DIR = copyOf(killed)
    chmodSync(DATA_DIR, 0o755)
    for (const name of readdirSync(DATA_DIR)) chmodSync(join(DATA_DIR, name), 0o644)
    await startHere({ DATA_DIR })
    expect(modesIn(DATA_DIR)).toMatchObject(expected)
    expect(new Set(Object.values(modesIn(DATA_DIR)))).toEqual(new Set(['700', '600']))
  })

  it('that has other things in it as well keeps its mode, and theirs', async () => {
    const DATA_DIR = newFolder()
    chmodSync(DATA_DIR, 0o755)
    writeFileSync(join(DATA_DIR, 'notes'), '', { mode: 0o644 })
    expect(await startWith(DATA_DIR)).toEqual([])
    expect(modesIn(DATA_DIR)).toMatchObject({ '.': '755', notes: '644', 'fauxqs.db': '600' })
  })
})

describe('a start with a data folder', () => {
  it.each([
    ['file', 'it is a file'],
    ['file/data', 'a part of its path is a file'],
    ['file/a/b', 'a part of its path is a file'],
  ])('%s says that %s', async (path, why) => {
    const folder = newFolder()
    writeFileSync(join(folder, 'file'), '')
    expect(await startWith(join(folder, path))).toBe(
      `DATA_DIR ${join(folder, path)} cannot be written: ${why}. Set it to a folder that you may write.`,
    )
  })

  it.skipIf(noProc.length > 0)(
    `on a file system that takes none is refused, also where its parent is not there${skipped(noProc)}`,
    async () => {
      // In a process that can be ended: Node's own recursion never does.
      const system = launch({ DATA_DIR: '/proc/none/data' })
      onTestFinished(() => void system.process.kill('SIGKILL'))
      await expect.poll(system.output).toMatch(/DATA_DIR \/proc\/none\/data cannot be/)
    },
  )

  it('that is temporary says where it cannot be', async () => {
    vi.stubEnv('TMPDIR', join(newFolder(), 'none'))
    onTestFinished(() => void vi.unstubAllEnvs())
    expect(await refusal({})).toMatch(/^ENOENT: .*none\/image-analyzer-/)
  })

  it('makes its parents too', async () => {
    expect(await startWith(join(newFolder(), 'a/b'))).toEqual([])
  })

  it('that is whole shows all records', async () => {
    expect(readdirSync(ended)).not.toContain('fauxqs.db-wal')
    expect(readdirSync(killed)).toContain('fauxqs.db-wal')
    expect(await startWith(copyOf(ended))).toEqual(ids)
    expect(await startWith(copyOf(killed))).toEqual(ids)
  })

  it('whose last transaction broke off shows what was committed before', async () => {
    for (const cut of [1, 100, PAGE_BYTES, PAGE_BYTES + 4]) {
      const folder = copyOf(killed)
      const log = join(folder, 'fauxqs.db-wal')
      truncateSync(log, statSync(log).size - cut)
      expect(await startWith(folder)).toEqual(ids)
      // A block that was never written, in a file that is as long as it was to be.
      const other = copyOf(killed)
      spoil(join(other, 'fauxqs.db-wal'), -cut, cut)
      expect(await startWith(other)).toEqual(ids)
    }
  })

  const DATABASE =
    /^\S+fauxqs\.db is damaged \(.+\)\. Restore \S+ from a copy, or delete it to begin without its images\.$/
  const MISSING =
    /^\S+fauxqs\.db is missing or empty, and eventbridge\.json is there\. Restore \S+ from a copy, or delete it to /
  it.each<[string, (folder: string) => void, RegExp]>([
    ['half of the database', (folder) => truncateSync(join(folder, 'fauxqs.db'), 40_960), DATABASE],
    ['a page overwritten', (folder) => spoil(join(folder, 'fauxqs.db'), 32_768, 16_384), DATABASE],
    ['no header', (folder) => spoil(join(folder, 'fauxqs.db'), 0, 100), DATABASE],
    ['an empty database', (folder) => truncateSync(join(folder, 'fauxqs.db'), 0), MISSING],
    ['no database', (folder) => rmSync(join(folder, 'fauxqs.db')), MISSING],
    [
      'a record that is no JSON',
      (folder) => {
        const database = new DatabaseSync(join(folder, 'fauxqs.db'))
        database.exec("UPDATE dynamodb SET value = substr(value, 1, 10) WHERE space LIKE 'item-%'")
        database.close()
      },
      DATABASE,
    ],
    [
      'a lock that is none',
      (folder) => writeFileSync(join(folder, 'lock.db'), 'x'.repeat(4_096)),
      /lock\.db is damaged\. Delete it; /,
    ],
    [
      'rules that are none',
      (folder) => writeFileSync(join(folder, 'eventbridge.json'), '{'),
      /eventbridge\.json cannot be read; delete the file .*, or restore it\.$/,
    ],
    [
      'times to live that are none',
      (folder) => writeFileSync(join(folder, 'ttl.json'), '{'),
      /ttl\.json cannot be read; delete the file, or restore it\.$/,
    ],
    [
      'pauses that are none',
      (folder) => writeFileSync(join(folder, 'lambda.json'), '{}'),
      /lambda\.json cannot be read; delete the file .*, or restore it\.$/,
    ],
    [
      'records of an earlier version',
      (folder) => mkdirSync(join(folder, 'dynamodb')),
      /dynamodb is from an earlier version, .* Set DATA_DIR to another folder, or /,
    ],
  ])('with %s says so, and what to do', async (_, damage, sentence) => {
    const folder = copyOf(ended)
    damage(folder)
    expect(await startWith(folder)).toMatch(sentence)
  })

  it.each<[string, number, number]>([
    ['the header', 0, 32],
    ['the first frame', 100, 50],
    ['the middle', -20 * FRAME_BYTES + 8_000, 1],
    ['the header of a frame', -20 * FRAME_BYTES, 24],
    ['a page of a frame', -20 * FRAME_BYTES + 24, 1],
  ])('with something else in its log, at %s, says so, and what to do', async (_, at, bytes) => {
    const folder = copyOf(killed)
    spoil(join(folder, 'fauxqs.db-wal'), at, bytes)
    expect(await startWith(folder)).toMatch(DATABASE)
  })
})

/** Where it may not, for example in a container, it ends at once. */
function mayTrace(): boolean {
  if (without('strace').length > 0) return false
  const sleeper = spawn('sleep', ['60'])
  const { status } = spawnSync('strace', ['-qq', '-o', '/dev/null', '-p', String(sleeper.pid)], {
    timeout: 500,
  })
  sleeper.kill()
  return status !== 1
}
const noTrace = mayTrace() ? [] : ['a strace that may trace']

describe('what a start with DATA_DIR has answered', () => {
  it.skipIf(noTrace.length > 0)(`is on the disk by then${skipped(noTrace)}`, async () => {
    const DATA_DIR = newFolder()
    const system = await start({ DATA_DIR })
    const file = join(newFolder(), 'calls')
    const tracer = spawn('strace', [
      ...['-f', '-y', '-e', 'trace=fsync,fdatasync', '-o', file, '-p', String(system.process.pid)],
    ])
    onTestFinished(() => void tracer.kill())
    await new Promise<void>((resolve, reject) => {
      tracer.once('error', reject).once('exit', () => reject(new Error('strace has ended')))
      tracer.stderr.on('data', (text) => /attached/.test(String(text)) && resolve())
    })
    const waits = (name: string) => readFileSync(file, 'utf8').split(`${DATA_DIR}${name}>`).length - 1

    await post(system.url, await distinct(1))
    // The record, the original, the job.
    expect(waits('/fauxqs.db-wal')).toBeGreaterThanOrEqual(3)
    const events = new EventBridgeClient({
      ...{ endpoint: system.aws, region: 'us-east-1' },
      credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
    })
    onTestFinished(() => events.destroy())
    await events.send(new PutRuleCommand({ Name: 'mine', EventPattern: '{"source":["me"]}' }))
    expect([waits('/eventbridge.json.new'), waits('')]).toEqual([1, 1])
  })
})
