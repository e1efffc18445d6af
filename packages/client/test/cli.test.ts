import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { buildClient } from '../../../build/client.ts'
import { outcome } from '../../../test/commands.ts'
import { until } from '../../../test/context.ts'
import { distinct } from '../../../test/pictures/pictures.ts'
import { startHere, startSystem } from '../../../test/system.ts'
import { NODE, noLinux, noSignals, SILENT, skipped } from '../../../test/tools.ts'
import { tinyPicture } from '../doctor.ts'
import { createClient } from '../index.ts'
import { openJournal } from '../journal.ts'
import { progressLine } from '../output.ts'

const root = join(import.meta.dirname, '../../..')
const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-cli-'))
const children: ChildProcess[] = []
/** Nothing listens at TCP port 1 of this machine. */
const NOWHERE = 'http://127.0.0.1:1'
const NO_IMAGE = '01990000-0000-7000-8000-000000000000'

interface Run {
  code: number | string
  out: string
  err: string
  lines: Line[]
}
interface Line {
  file: string
  status: string
  imageId: string
  via?: string
  resumed?: true
  sameAs?: string
  code?: string
  detail?: string
  check?: string
  ok?: boolean
  found?: string
  mend?: string
  image?: { original: { bytes: number; filename: string } }
  labels?: string[]
}

function launch(command: string[], env: Record<string, string>) {
  const child = spawn(process.execPath, [...NODE, ...command], {
    cwd: root,
    // Those that are killed leave what they keep.
    env: { ...process.env, NO_COLOR: '1', ...env, TMPDIR: folder },
  })
  children.push(child)
  const text = { out: '', err: '' }
  child.stdout.on('data', (chunk) => {
    text.out += chunk
  })
  child.stderr.on('data', (chunk) => {
    text.err += chunk
  })
  const ended = new Promise<number | string>((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? signal ?? ''))
  })
  return { child, text, ended }
}

/** The command line as it is in the package: JavaScript, without the sources. */
const bin = join(folder, 'bin.js')
beforeAll(async () => {
  await buildClient(join(folder, 'dist'))
  for (const file of ['bin.js', 'package.json'])
    copyFileSync(join(root, 'packages/client', file), join(folder, file))
})

const settings = () => ({
  IMAGE_ANALYZER_ENDPOINT: url,
  IMAGE_ANALYZER_TOKEN: '',
  XDG_STATE_HOME: join(folder, 'state'),
})
const startCli = (args: string[], env: Record<string, string> = {}) =>
  launch([bin, ...args], { ...settings(), ...env })

const linesOf = (out: string): Line[] =>
  out
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line)

/** In a process of its own, as a person has it. */
async function cliProcess(args: string[], env: Record<string, string> = {}): Promise<Run> {
  const { text, ended } = startCli(args, env)
  const code = await ended
  return { code, ...text, lines: linesOf(text.out) }
}

/** The same in this process, for all of which only the results are tested: a process takes twenty times as long. */
async function cli(args: string[], env: Record<string, string> = {}): Promise<Run> {
  const all = { ...settings(), NO_COLOR: '1', ...env }
  const { exit, said, printed } = await outcome(join(folder, 'dist/main.js'), args, all)
  return { code: exit as number, out: printed, err: said, lines: linesOf(printed) }
}
async function inTurn(...commands: Parameters<typeof cli>[]): Promise<Run[]> {
  const runs: Run[] = []
  for (const command of commands) runs.push(await cli(...command))
  return runs
}

const newFolder = (name: string): string => {
  const path = join(folder, name)
  mkdirSync(path)
  return path
}
async function writePictures(path: string, count: number, first = 0): Promise<void> {
  for (let number = first; number < first + count; number += 1)
    writeFileSync(join(path, `${number}.png`), await distinct(number))
}
/** Images on the server whose names are of this test. */
async function onServer(prefix: RegExp): Promise<string[]> {
  const names: string[] = []
  for await (const { original } of createClient({ endpoint: url }).list())
    if (prefix.test(original.filename ?? '')) names.push(original.filename ?? '')
  return names.sort()
}

let url: string
let stop: (() => Promise<void>) | undefined
beforeAll(async () => {
  ;({ url, stop } = await startSystem({ REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0' }, SILENT))
})
afterAll(async () => {
  await stop?.()
  for (const child of children) {
    if (child.kill('SIGKILL')) await once(child, 'exit')
  }
  rmSync(folder, { recursive: true, force: true })
})

describe('upload', () => {
  it('takes a folder of everything, waits, and says of each file what became of it', async () => {
    const photos = newFolder('mixed')
    await writePictures(photos, 5, 1_000)
    for (let number = 0; number < 5; number += 1) {
      const whole = await sharp(randomBytes(3 * 200 * 200), { raw: { width: 200, height: 200, channels: 3 } })
        .jpeg()
        .toBuffer()
      writeFileSync(join(photos, `cut off ${number}.jpg`), whole.subarray(0, whole.length / 2))
    }
    const below = join(photos, 'Ünïcode 写真 [1]')
    mkdirSync(below)
    writeFileSync(join(below, '-dash "quoted", comma.png'), await distinct(2_001))
    writeFileSync(join(below, 'no extension'), await distinct(2_002))
    writeFileSync(join(below, 'twin.png'), await distinct(1_000))
    writeFileSync(join(below, 'text.jpg'), 'hello')
    writeFileSync(join(below, 'empty.jpg'), '')
    writeFileSync(join(below, 'notes.txt'), 'no image')
    writeFileSync(join(below, 'IMG_1.HEIC'), '\0\0\0\x18ftypheic\0\0\0\0mif1heic')
    writeFileSync(join(below, '.hidden.png'), await distinct(2_003))
    symlinkSync(photos, join(below, 'loop'))
    symlinkSync(join(below, 'gone.png'), join(below, 'nowhere.png'))

    const { code, lines, err } = await cliProcess(['upload', photos, '--wait', '--concurrency', '6'])
    expect({ code, err }).toEqual({ code: 1, err: '' })
    const of = (name: string) => lines.find(({ file }) => file.endsWith(name))
    expect(lines.filter(({ status }) => status === 'completed')).toHaveLength(8)
    for (let number = 0; number < 5; number += 1)
      expect(of(`cut off ${number}.jpg`)).toMatchObject({ status: 'failed', code: 'CORRUPT_IMAGE' })
    expect(of('text.jpg')).toMatchObject({ status: 'failed', code: 'UNSUPPORTED_FORMAT' })
    expect(of('empty.jpg')).toMatchObject({ status: 'failed', code: 'EMPTY_IMAGE' })
    expect(of('nowhere.png')).toMatchObject({ status: 'failed', code: 'UNREADABLE' })
    expect(of('notes.txt')).toMatchObject({ status: 'skipped' })
    expect(of('IMG_1.HEIC')).toMatchObject({
      ...{ status: 'skipped', detail: expect.stringMatching(/^This is a HEIC photo \(iPhone\)\. Export it/) },
    })
    expect(of('.hidden.png')).toMatchObject({ status: 'skipped' })
    expect(of('comma.png')?.image?.original.filename).toBe('-dash "quoted", comma.png')
    const [one, two] = [of('/1000.png'), of('twin.png')]
    expect(one?.imageId).toBe(two?.imageId)
    expect([one?.sameAs, two?.sameAs].filter(Boolean)).toHaveLength(1)
    expect(lines).toHaveLength(19)

    const csv = await cli(['upload', photos, '--wait', '--csv'])
    const rows = csv.out.trimEnd().split('\n')
    expect(csv.code).toBe(1)
    expect(rows[0]).toMatch(/^file,status,imageId,/)
    expect(rows).toHaveLength(20)
    expect(csv.out).toContain('-dash ""quoted"", comma.png",completed,')
  })

  // Elsewhere file systems have no such names.
  it.skipIf(noLinux.length > 0)(
    `sends a file whose name is not UTF-8, however it is named${skipped(noLinux)}`,
    async () => {
      const photos = newFolder('old')
      const below = Buffer.concat([Buffer.from(`${photos}/`), Buffer.from('\xe9t\xe9', 'latin1')])
      mkdirSync(below)
      const write = async (number: number, ...name: (string | Buffer)[]) =>
        writeFileSync(Buffer.concat(name.map((part) => Buffer.from(part))), await distinct(number))
      await write(31_000, `${photos}/`, Buffer.from('caf\xe9.png', 'latin1'))
      await write(31_001, below, Buffer.from('/na\xefve.png', 'latin1'))
      await write(31_002, below, '/plain.png')

      const names = ['café.png', 'naïve.png', 'plain.png']
      const folder = await cli(['upload', photos, '--wait'])
      expect(folder).toMatchObject({ code: 0, err: '' })
      expect(folder.lines.map(({ image }) => image?.original.filename).sort()).toEqual(names)
      expect(folder.lines.map(({ file }) => file)).toContain(join(photos, 'été', 'naïve.png'))
      // A shell hands such a name over as it is, and Node makes a text of it, in which a letter is lost.
      for (const name of [
        `$(printf '%s/caf\\351.png' "$0")`,
        '$0/caf*.png',
        "'$0/c*.png'".replace('$0', photos),
      ]) {
        const run = spawn(
          'sh',
          ['-c', `"$1" run.js packages/client/main.ts upload ${name} --json`, photos, process.execPath],
          {
            cwd: root,
            env: {
              ...process.env,
              IMAGE_ANALYZER_ENDPOINT: url,
              IMAGE_ANALYZER_TOKEN: '',
              XDG_STATE_HOME: photos,
            },
          },
        )
        children.push(run)
        let out = ''
        run.stdout.on('data', (chunk) => {
          out += chunk
        })
        const [code] = await once(run, 'close')
        expect({ code, ...JSON.parse(out) }).toMatchObject({
          ...{ code: 0, imageId: folder.lines.find(({ file }) => file.endsWith('/café.png'))?.imageId },
          file: join(photos, 'café.png'),
        })
      }
      expect(await onServer(/caf/)).toEqual(['café.png'])
    },
  )

  it('reads standard input, under the name that it is given', async () => {
    const send = async (bytes: Buffer, ...args: string[]) => {
      const run = startCli(['upload', '-', '--wait', ...args])
      run.child.stdin.end(bytes)
      const code = await run.ended
      return { code, err: run.text.err, line: JSON.parse(run.text.out || '{}') as Line }
    }
    const named = await send(await distinct(32_000), '--filename', 'from a pipe.png')
    expect(named).toMatchObject({
      code: 0,
      line: { file: '-', status: 'completed', image: { original: { filename: 'from a pipe.png' } } },
    })
    const nameless = await send(await distinct(32_001))
    expect(nameless.line.status).toBe('completed')
    expect(nameless.line.image?.original).not.toHaveProperty('filename')
    const side = 1_300
    const noise = sharp(randomBytes(side * side * 3), { raw: { width: side, height: side, channels: 3 } })
    const large = await send(await noise.png({ compressionLevel: 0 }).toBuffer(), '--filename', 'big.png')
    expect(large.line).toMatchObject({ status: 'completed', via: 'uploads' })
    expect((await send(Buffer.alloc(0))).line).toMatchObject({ status: 'failed', code: 'EMPTY_IMAGE' })
    expect((await send(Buffer.from('%PDF-1.7'))).line).toMatchObject({
      ...{ status: 'failed', code: 'UNSUPPORTED_FORMAT', detail: expect.stringContaining('PDF document') },
    })
    const wrong = await inTurn(
      [['upload', 'a.jpg', '--filename', 'b.jpg']],
      [['upload', '-', '-']],
      [['list', '--filename', 'b.jpg']],
    )
    expect(wrong.map(({ code }) => code)).toEqual([2, 2, 2])
    expect(wrong[0]?.err).toContain('--filename is the name of standard input')
  })

  it('goes on after Ctrl-C and sends only what is missing', async () => {
    const photos = newFolder('many')
    await writePictures(photos, 40, 10_000)
    const first = startCli(['upload', photos, '--concurrency', '4'])
    await until('some are sent', async () => (first.text.out.split('\n').length > 15 ? true : undefined))
    first.child.kill('SIGINT')
    expect(await first.ended).toBe(130)
    expect(first.text.err).toMatch(/^Stopped: \d+ of 40 files .* resumes from here/)
    const before = await onServer(/^1\d{4}\.png$/)
    expect(before.length).toBeLessThan(40)

    // As a kill -9 would leave it: the last line is half there.
    const journal = join(folder, 'state', 'image-analyzer', 'sent.jsonl')
    writeFileSync(journal, readFileSync(journal).subarray(0, -20))
    expect(statSync(journal).mode & 0o77).toBe(0)

    const second = await cli(['upload', photos])
    expect(second.code).toBe(0)
    expect(second.lines).toHaveLength(40)
    const resumed = second.lines.filter((line) => line.resumed).length
    expect(resumed).toBeGreaterThanOrEqual(before.length - 5)
    expect(resumed).toBeLessThan(before.length)
    expect(await onServer(/^1\d{4}\.png$/)).toEqual(
      Array.from({ length: 40 }, (_, index) => `${10_000 + index}.png`),
    )
  })

  it('sends a file over 4.5 MB by a form, and again what was deleted meanwhile', async () => {
    const photos = newFolder('large')
    const side = 1_400
    const noise = sharp(randomBytes(side * side * 3), { raw: { width: side, height: side, channels: 3 } })
    const path = join(photos, 'large.png')
    writeFileSync(path, await noise.png({ compressionLevel: 0 }).toBuffer())
    expect(statSync(path).size).toBeGreaterThan(4_500_000)
    // Killed with the form in its hands, or just after: the next run uses the same one, or finds the image there.
    const journal = join(folder, 'large.jsonl')
    const killed = startCli(['upload', path, '--analyses', 'labels', '--journal', journal])
    await until('there is a form', async () =>
      existsSync(journal) && readFileSync(journal, 'utf8').includes('"form"') ? true : undefined,
    )
    killed.child.kill('SIGKILL')
    await killed.ended
    const { imageId: first } = JSON.parse(readFileSync(journal, 'utf8').split('\n')[0] ?? '') as Line
    const next = await cli(['upload', path, '--wait', '--analyses', 'labels', '--journal', journal])
    expect(next).toMatchObject({ code: 0, lines: [{ status: 'completed', imageId: first }] })
    expect(await onServer(/^large\.png$/)).toHaveLength(1)

    const { lines } = await cli(['upload', path, '--wait', '--analyses', 'labels,faces'])
    expect(lines[0]).toMatchObject({ status: 'completed', via: 'uploads' })
    const { imageId = '' } = lines[0] ?? {}

    const again = await cli(['upload', path, '--wait', '--analyses', 'faces,labels'])
    expect(again.lines[0]).toMatchObject({ status: 'completed', imageId, resumed: true })
    expect((await cli(['delete', imageId])).lines).toEqual([{ imageId, status: 'deleted' }])
    const after = await cli(['upload', path, '--analyses', 'labels,faces'])
    expect(after.lines[0]).toMatchObject({ status: 'accepted', via: 'uploads' })
    expect(after.lines[0]?.imageId).not.toBe(imageId)
  })

  it('sends again what was deleted where no journal tells of it, and the same bytes under another name', async () => {
    const photos = newFolder('forgotten')
    const path = join(photos, 'forgotten.png')
    writeFileSync(path, await distinct(30_000))
    const sent = async (file: string, journal: string) => {
      const { code, lines } = await cli(['upload', file, '--journal', join(photos, journal)])
      expect(code).toBe(0)
      return lines[0]?.imageId ?? ''
    }
    const first = await sent(path, 'a.jsonl')
    expect(await sent(path, 'b.jsonl')).toBe(first)
    const copy = join(photos, 'copy.png')
    writeFileSync(copy, readFileSync(path))
    expect(await sent(copy, 'c.jsonl')).not.toBe(first)
    await cli(['delete', first])
    expect([first, '']).not.toContain(await sent(path, 'd.jsonl'))
  })

  it('has patience with a busy API, and repeats with the same key', async () => {
    const keys: unknown[] = []
    const server = createServer((request, response) => {
      request.resume().on('end', () => {
        keys.push(request.headers['idempotency-key'])
        // First the connection breaks; then the API is busy; then it answers.
        if (keys.length === 2) response.writeHead(503, { 'retry-after': '1' }).end()
        else if (keys.length === 3) response.writeHead(202).end('{"imageId":"x"}')
        else if (keys.length === 1) request.socket.destroy()
        else response.writeHead(429, { 'retry-after': '3600' }).end('{"message":"Too Many Requests"}')
      })
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const client = createClient({
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/stage/`,
    })
    const timers = vi.spyOn(globalThis, 'setTimeout')
    expect(await client.upload(new Uint8Array(3))).toEqual({ imageId: 'x', via: 'images' })
    const pauses = timers.mock.calls.map(([, ms = 0]) => ms)
    timers.mockRestore()
    // As long as the API asks for, and a little more.
    expect(pauses).toContainEqual(expect.toSatisfy((ms: number) => ms > 1_000 && ms < 10_000))
    expect(new Set(keys).size).toBe(1)
    // An hour is no pause to sit out.
    await expect(client.upload(new Uint8Array(3))).rejects.toMatchObject({
      ...{ name: 'ApiError', code: 'TOO_MANY_REQUESTS', status: 429, retryAfter: 3_600 },
    })
    server.close()
  })
})

describe('the other commands', () => {
  it('follow, list, show, retry and delete images', async () => {
    const events = startCli(['events', '--every', '1'])
    // It has looked around when the API has answered it; what finishes from then on is printed.
    const file = join(newFolder('single'), 'event.png')
    const sent: string[] = []
    const told = await until('an event', async () => {
      writeFileSync(file, tinyPicture())
      sent.push((await cli(['upload', file])).lines[0]?.imageId ?? '')
      return events.text.out === '' ? undefined : events.text.out
    })
    const [event] = told.split('\n').map((line) => JSON.parse(line || '{}') as Line)
    expect(sent).toContain(event?.imageId)
    expect(event).toMatchObject({ status: 'completed', labels: expect.any(Array) })
    events.child.kill('SIGINT')
    expect(await events.ended).toBe(130)

    const { imageId = '' } = event ?? {}
    const listed = await cli(['list', '--limit', '5'])
    expect(listed.lines).toHaveLength(5)
    expect(listed.lines.map((line) => line.imageId)).toEqual(
      listed.lines
        .map((line) => line.imageId)
        .toSorted()
        .toReversed(),
    )
    expect((await cli(['list', '--status', 'completed', '--csv', '--limit', '3'])).out).toMatch(
      /^imageId,status,.*\n([^,]+,completed,.*\n){3}$/,
    )
    const labelled = await cli(['list', '--label', 'bright', '--min-confidence', '0.5', '--limit', '1'])
    expect(labelled.lines).toEqual([expect.objectContaining({ labels: expect.arrayContaining(['Bright']) })])
    expect((await cli(['list', '--label', 'nothing'])).out).toBe('')
    const [one = '', other = one] = event?.labels ?? []
    const both = await cli(['list', '--label', one, '--label', other, '--name', 'EVENT', '--all'])
    expect(both.lines).toContainEqual(expect.objectContaining({ imageId }))
    const filtered = ['--faces', 'false', '--from', '2020-01-01', '--to', '2100-01-01']
    expect((await cli(['list', ...filtered, '--limit', '1'])).lines).toHaveLength(1)
    expect((await cli(['list', '--to', '2020-01-01'])).out).toBe('')
    expect((await cli(['list', '--emotion', 'happy'])).out).toBe('')
    expect((await cli(['labels', 'bri'])).lines).toEqual([{ name: 'Bright' }])
    expect((await cli(['labels', '--csv'])).out).toMatch(/^name\n(.+\n)*Bright\n/)
    const [shown, refused] = await inTurn(
      [['status', imageId, '--wait']],
      [['retry', imageId, '00000000-0000-7000-8000-000000000000', '../health']],
    )
    expect(shown).toMatchObject({ code: 0, lines: [{ imageId, status: 'completed' }] })
    expect(refused?.code).toBe(1)
    expect(refused?.lines.map(({ code }) => code)).toEqual([
      'NOT_FAILED',
      'IMAGE_NOT_FOUND',
      'IMAGE_NOT_FOUND',
    ])

    const bad = join(folder, 'single', 'bad.png')
    writeFileSync(bad, tinyPicture().subarray(0, 9_000))
    const failed = await cli(['upload', bad, '--wait'])
    expect(failed).toMatchObject({ code: 1, lines: [{ status: 'failed', code: 'CORRUPT_IMAGE' }] })
    const retried = await cli(['retry', failed.lines[0]?.imageId ?? ''])
    expect(retried).toMatchObject({ code: 0, lines: [{ status: 'pending' }] })
    const [badId = '', none] = [failed.lines[0]?.imageId, '00000000-0000-7000-8000-000000000000']
    expect((await cli(['status', '--wait', badId])).code).toBe(1)
    expect((await cli(['delete', '--csv', imageId, none])).out).toMatch(
      new RegExp(`^imageId,status,code,detail\\n${imageId},deleted,,\\n${none},,IMAGE_NOT_FOUND,[^,]+\\n$`),
    )
    expect(await cli(['status', imageId])).toMatchObject({ code: 1, lines: [{ code: 'IMAGE_NOT_FOUND' }] })
    const [head, missing, bads] = (await cli(['status', '--csv', imageId, badId])).out.split('\n')
    expect(head).toMatch(/^imageId,status,.*,labels,code,detail$/)
    expect(missing).toMatch(new RegExp(`^${imageId},{9}IMAGE_NOT_FOUND,`))
    expect(bads).toMatch(new RegExp(`^${badId},failed,.*,,CORRUPT_IMAGE,`))
  })

  it('say what is wrong with their usage, or that nothing is there', async () => {
    const runs = await inTurn(
      [['--help']],
      [[]],
      [['constructor']],
      [['list', '--wait']],
      [['list', '--status', 'done']],
      [['list', '--min-confidence', '90']],
      [['list', '--failure', 'corrupt']],
      [['list', '--from', 'yesterday']],
      [['labels', 'a', 'b']],
      [['upload', '--concurrency', '0', '.']],
      [['list'], { IMAGE_ANALYZER_ENDPOINT: 'localhost' }],
      [['list', '--limit', '0']],
    )
    expect(runs.map(({ code }) => code)).toEqual([0, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2])
    expect(runs.at(-1)?.err).toContain('--limit must be a whole number from 1 on, not "0".')
    expect(runs[0]?.out).toMatch(/^image-analyzer <command> /)
    expect(runs[0]?.out).toMatch(/^ {2}upload .*files of the same bytes\n +are one image/m)
    // In a checkout there is no program of that name.
    const ran = await cliProcess(['upload', 'test/fixtures/grace-hopper.jpg'], {
      npm_lifecycle_event: 'cli',
      IMAGE_ANALYZER_ENDPOINT: NOWHERE,
    })
    expect(ran.err).toContain('"npm run cli -- doctor" checks more.')
    const { version } = JSON.parse(readFileSync(join(root, 'packages/client/package.json'), 'utf8'))
    expect(await cliProcess(['--version'])).toMatchObject({ code: 0, out: `image-analyzer ${version}\n` })
    expect(runs[2]?.err).toContain('There is no command "constructor".')
    for (const run of runs) expect(run.err).not.toMatch(/ at |Warning/)

    const photo = join(root, 'test/fixtures/grace-hopper.jpg')
    const [away, missing, unknown] = await Promise.all([
      cliProcess(['upload', photo, '--endpoint', NOWHERE]),
      cliProcess(['upload', join(folder, 'nothing*.jpg')]),
      cliProcess(['constructor']),
    ])
    expect(unknown).toMatchObject({ code: 2, out: '', err: expect.stringMatching(/^There is no command "/) })
    expect(away).toMatchObject({ code: 3, out: '' })
    expect(away.err).toMatch(/^UNREACHABLE: .* Is it running \(npm start\)/)
    expect(missing).toMatchObject({ code: 1, lines: [{ status: 'failed', code: 'NO_SUCH_FILE' }] })
  })
})

describe.skipIf(noSignals.length > 0)(`under an older Node${skipped(noSignals)}`, () => {
  /** Has run.js think so, and look for the Node that npm ci has brought along. */
  const OLD = `data:text/javascript,Object.defineProperty(process,'versions',{value:{...process.versions,node:'20.19.0'}})`
  /** Each process with its parent. Many a container has no ps. */
  const processes = (): string[] =>
    existsSync('/proc/self/stat')
      ? globSync('/proc/[0-9]*/stat').map((file) => {
          try {
            return readFileSync(file, 'utf8').replace(/ \(.*\) \S/s, '')
          } catch {
            return 'It has ended.'
          }
        })
      : execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).split('\n')
  const childOf = (parent = 0): number | undefined =>
    processes()
      .map((line) => line.trim().split(/ +/).map(Number))
      .find(([, ppid]) => ppid === parent)?.[0]
  const isThere = (pid: number): boolean => {
    try {
      return process.kill(pid, 0)
    } catch {
      return false
    }
  }

  it.each([
    ['image-analyzer', ['packages/client/bin.js', 'events']],
    ['npm start', ['run.js', 'local/main.ts']],
  ])('the work of %s ends with the process that was started, also by kill -9', async (_name, command) => {
    const started = launch(['--import', OLD, ...command], {
      ...{ IMAGE_ANALYZER_ENDPOINT: url, IMAGE_ANALYZER_TOKEN: '' },
      ...{ AWS_ENDPOINT_URL: '', REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0' },
    })
    const worker = await until('there is a process that works', async () => childOf(started.child.pid))
    if (command.includes('local/main.ts'))
      await until('it is ready', async () => /Ready in/.test(started.text.out) || undefined)
    started.child.kill('SIGKILL')
    await until('the work has ended', async () => !isThere(worker) || undefined)
  })
})

it('no words of a server reach a terminal as commands', async () => {
  const words = '\u001b]0;title\u0007\u009b2J\u202e'
  const image = {
    ...{ imageId: NO_IMAGE, status: 'completed', createdAt: words, completedAt: words, attempts: 1 },
    original: { contentType: 'image/png', bytes: 1, filename: words },
    rekognitionLabels: [{ Name: words, Confidence: 99 }],
  }
  const other = createServer(({ url = '', method }, response) => {
    if (method === 'POST') response.writeHead(202).end(JSON.stringify({ imageId: words }))
    else response.end(JSON.stringify(url === '/health' ? { status: words } : { items: [image] }))
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => other.once('listening', resolve))
  const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`
  const env = { IMAGE_ANALYZER_ENDPOINT: url, FORCE_COLOR: '0' }
  const TERMINAL = 'data:text/javascript,process.stdout.isTTY=true'
  const file = join(folder, 'words.png')
  writeFileSync(file, tinyPicture())
  const sent = ['upload', file, '--journal', join(folder, 'words.jsonl')]
  for (const command of [['list'], ['list', '--json'], ['list', '--csv'], ['doctor'], sent]) {
    const started = launch(['--import', TERMINAL, bin, ...command], env)
    await started.ended
    expect(started.text.out).toContain('title')
    expect(started.text.out).not.toMatch(/[^\P{Cc}\n]|\p{Bidi_Control}/u)
    const [line = ''] = started.text.out.split('\n')
    if (command.includes('--json')) expect(JSON.parse(line)).toEqual(image)
  }
  other.close()
})

describe('doctor', () => {
  it('finds nothing wrong with a good set-up, and leaves nothing behind', async () => {
    const { code, lines } = await cli(['doctor'])
    expect(lines.filter(({ ok }) => !ok)).toEqual([])
    expect(lines.map(({ check }) => check)).toEqual([
      ...['node', 'endpoint', 'clock', 'access', 'upload', 'thumbnail', 'form'],
    ])
    expect(code).toBe(0)
    expect(await onServer(/^doctor\.png$/)).toEqual([])
  })

  it('says what is wrong, and how to mend it', async () => {
    const other = createServer((request, response) => {
      response.setHeader('date', new Date(Date.now() - 3_600_000).toUTCString())
      if (request.url === '/late/health') response.end('{"status":"ok"}')
      else if (request.url?.startsWith('/red/')) response.writeHead(400).end('{"message":"\\u001b[31mred"}')
      // As API Gateway without a stage.
      else if (request.url?.startsWith('/bare/')) response.writeHead(403).end('{"message":"Forbidden"}')
      else response.end('<h1>Another program</h1>')
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => other.once('listening', resolve))
    const endpoint = `http://127.0.0.1:${(other.address() as AddressInfo).port}`
    const noKeys = {
      ...{ AWS_ACCESS_KEY_ID: '', AWS_PROFILE: '', HOME: folder },
      AWS_EC2_METADATA_DISABLED: 'true',
    }
    const [red, nobody, stranger, late, bare, keyless] = await inTurn(
      [['list', '--endpoint', `${endpoint}/red`]],
      [['doctor', '--endpoint', 'http://127.0.0.1:2']],
      [['doctor', '--endpoint', endpoint]],
      [['doctor', '--endpoint', `${endpoint}/late`]],
      [['doctor', '--endpoint', `${endpoint}/bare`]],
      [['doctor', '--sign', '--endpoint', `${endpoint}/late`], noKeys],
    )
    other.close()
    // As a stranger's words: a terminal would act upon them.
    expect(red?.err).toContain('The answer is 400: \ufffd[31mred, which is not of this API')
    expect(nobody?.code).toBe(3)
    expect(nobody?.lines.at(-1)).toMatchObject({ check: 'endpoint', ok: false })
    expect(nobody?.lines.at(-1)?.mend).toContain('npm start')
    expect(stranger?.code).toBe(1)
    expect(stranger?.lines.at(-1)?.mend).toContain('--endpoint')
    expect(bare?.lines.at(-1)?.mend).toContain('the stage')
    expect(keyless?.lines.at(-1)).toMatchObject({
      ...{ check: 'endpoint', found: expect.stringContaining('No AWS credentials') },
      mend: expect.stringContaining('set those'),
    })
    expect(late?.lines.find(({ check }) => check === 'clock')).toMatchObject({
      ok: false,
      found: expect.stringMatching(/(35|36)\d\d s ahead/),
    })
  })
})

describe('an API that asks who is there', () => {
  const keys = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret', AWS_REGION: 'us-east-1' }

  it('gets signed requests, and without them ends a run at once with what to do', async () => {
    const { url: endpoint } = await startHere({ AUTH: 'iam', ...keys })
    const photos = newFolder('signed & sealed')
    await writePictures(photos, 3, 20_000)
    const env = { ...keys, IMAGE_ANALYZER_ENDPOINT: endpoint }
    const without = await cli(['upload', photos], { ...env, IMAGE_ANALYZER_TOKEN: 'not.a.token' })
    expect(without).toMatchObject({ code: 1, out: '' })
    expect(without.err).toMatch(/^UNAUTHENTICATED: .* use --sign\.\n0 of 3 files/)
    const wrong = await cli(['list', '--sign'], { ...env, AWS_SECRET_ACCESS_KEY: 'wrong' })
    expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining('credentials that it knows')])
    expect(await cli(['list', '--label', 'Sharp'], env)).toMatchObject({ code: 1, out: '' })
    const signed = await cli(['upload', photos, '--wait', '--sign'], env)
    expect(signed).toMatchObject({ code: 0, err: '' })
    expect(signed.lines.map(({ status }) => status)).toEqual(['completed', 'completed', 'completed'])
    const labels = ['--label', 'Sharp', '--label', 'Blurry']
    expect(await cli(['list', '--sign', ...labels], env)).toMatchObject({ code: 0, err: '' })
    const doctor = await cli(['doctor', '--sign'], env)
    expect(doctor).toMatchObject({ code: 0 })
    const diagnosis = await cli(['doctor'], env)
    expect(diagnosis).toMatchObject({ code: 1 })
    expect(diagnosis.lines.at(-1)).toMatchObject({ check: 'access', ok: false })
  })
})

describe('the client', () => {
  it('refuses an endpoint that is not of HTTP', () => {
    expect(() => createClient({ endpoint: 'ftp://x' })).toThrow(TypeError)
  })

  it('gives events, and URLs of the bucket, for which it is asked by name only', async () => {
    const client = createClient({ endpoint: url })
    const image = await client.upload(new Blob([tinyPicture()]), { filename: 'Bär.png', wait: true })
    expect(image).toMatchObject({ status: 'completed', original: { filename: 'Bär.png' } })
    expect(await client.event(image.imageId)).toMatchObject({ detail: { imageId: image.imageId, epoch: 1 } })
    const thumbnail = await fetch(await client.thumbnailUrl(image.imageId))
    expect(thumbnail.headers.get('content-type')).toBe('image/jpeg')
    const preview = await sharp(await (await fetch(await client.previewUrl(image.imageId))).arrayBuffer())
    expect(await preview.metadata()).toMatchObject({
      format: 'jpeg',
      width: image.original.width,
      height: image.original.height,
    })
    const original = await fetch(await client.originalUrl(image.imageId))
    expect((await original.arrayBuffer()).byteLength).toBe(image.original.bytes)
    const broken = new AbortController()
    broken.abort(new Error('enough'))
    await expect(client.wait(image.imageId, { signal: broken.signal })).rejects.toThrow('enough')
    await client.delete(image.imageId)
    await expect(client.get(image.imageId)).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND', status: 404 })
  })
})

it('the journal forgets a line that was cut off, and nothing else', () => {
  const never = (error: Error) => expect.fail(String(error))
  const path = join(folder, 'journal.jsonl')
  const first = openJournal(path, never)
  first.add({ key: 'a', sha256: '1', imageId: 'x' })
  first.add({ key: 'b', sha256: '2', imageId: 'y' })
  first.close()
  writeFileSync(path, readFileSync(path).subarray(0, -9))
  const second = openJournal(path, never)
  expect([second.get('a')?.imageId, second.get('b')]).toEqual(['x', undefined])
  second.add({ key: 'c', sha256: '3', imageId: 'z' })
  second.close()
  expect(openJournal(path, never).get('c')?.imageId).toBe('z')
})

it('the progress line tells files, bytes, failures and rate, within the width there is', () => {
  const counts = { files: 1_000, bytes: 80e6, done: 500, sentBytes: 40e6, failed: 3, waiting: 12 }
  expect(progressLine(counts, 10, 200)).toBe(
    '████████████░░░░░░░░░░░░ 50 %  500/1000 files  40 MB/80 MB  3 failed  12 in analysis  50.0 files/s 4.0 MB/s  0:10 left',
  )
  expect(progressLine(counts, 10, 40)).toHaveLength(39)
})
