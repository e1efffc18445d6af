import { readdirSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { finished, until } from './context.ts'
import { distinct } from './pictures.ts'
import { launch, newFolder, post, start } from './started.ts'

interface Thread {
  id: string
  name: string
  /** Of the processor, in hundredths of a second. */
  ticks: number
  niceness: number
}

/** See proc_pid_stat(5). */
const threadsOf = (pid = 0): Thread[] =>
  readdirSync(`/proc/${pid}/task`).map((id) => {
    const [, name = '', rest = ''] =
      /\((.*)\) (.*)/s.exec(readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8')) ?? []
    const fields = rest.split(' ').map(Number)
    return { id, name, ticks: (fields[11] ?? 0) + (fields[12] ?? 0), niceness: fields[16] ?? 0 }
  })

it.skipIf(process.platform !== 'linux')(
  'AWS and the worker are work of other threads than the one that answers, and what decodes comes last',
  async () => {
    const system = await start()
    const { pid } = system.process
    const sum = (threads: Thread[]): number => threads.reduce((ticks, thread) => ticks + thread.ticks, 0)
    const ownOf = (threads: Thread[]) => threads.filter(({ id }) => id === String(pid))
    const before = threadsOf(pid)
    const pictures = await Promise.all(Array.from({ length: 8 }, (_, number) => distinct(number)))
    const ids = await Promise.all(pictures.map((picture) => post(system.url, picture)))
    for (const id of ids) expect((await finished(system.url, id)).status).toBe('completed')
    const after = threadsOf(pid)
    const share = (sum(ownOf(after)) - sum(ownOf(before))) / (sum(after) - sum(before))
    // In one thread it was more than half.
    expect(share).toBeLessThan(0.4)

    const own = ownOf(after)[0]?.niceness ?? 0
    const decoders = after.filter(({ name }) => name === 'libuv-worker')
    expect(new Set(decoders.map(({ niceness }) => niceness))).toEqual(new Set([Math.min(19, own + 10)]))
  },
)

it('the end of the thread of AWS and the worker is the end of npm start, which says so', async () => {
  const fails = `import { isMainThread, parentPort } from 'node:worker_threads'
    if (!isMainThread) parentPort.on('message', (asked) => { if (asked === 'begin') throw new Error('lost') })`
  const system = launch({ NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(fails)}` })
  await until('the end', async () => system.process.exitCode ?? undefined)
  expect(system.process.exitCode).toBe(1)
  expect(system.output()).toMatch(/^The thread that runs AWS and the worker has failed, .*: Error: lost\n/m)
})

it('what hangs at the end is left behind, and the folder goes all the same', async () => {
  const hangs = `import { isMainThread, parentPort } from 'node:worker_threads'
    if (!isMainThread) {
      const post = parentPort.on
      parentPort.on = (name, hear) => post.call(parentPort, name, (asked) => asked === 'stop' || hear(asked))
    }`
  const TMPDIR = newFolder()
  const env = { TMPDIR, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hangs)}` }
  const system = await start(env)
  expect(readdirSync(TMPDIR)).toHaveLength(1)
  expect(await system.end('SIGTERM')).toBe(0)
  expect(readdirSync(TMPDIR)).toEqual([])
})

it.each(['local/main.ts', 'rekognition/main.ts'])(
  '%s ends in order also at the moment when it is ready',
  async (file) => {
    const ends = `const { log } = console
    console.log = (line) => {
      log(line)
      if (/Ready in/.test(line)) process.kill(process.pid, 'SIGTERM')
    }`
    const TMPDIR = newFolder()
    const env = { TMPDIR, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(ends)}` }
    const { process: child } = launch(env, file.startsWith('rekognition') ? ['--port', '0'] : [], file)
    await until('the end', async () => child.exitCode ?? child.signalCode ?? undefined)
    expect([child.exitCode, child.signalCode]).toEqual([0, null])
    expect(readdirSync(TMPDIR)).toEqual([])
  },
)
