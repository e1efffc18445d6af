import { readdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import { until } from '../context.ts'
import { launch, newFolder, start } from '../started.ts'
import { noLinux, skipped } from '../tools.ts'

/** The environment in which Node runs this before the program, in each of its threads. */
const preloading = (script: string) => ({
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(script)}`,
})

it('the end of the thread of AWS and the worker is the end of npm start, which says so', async () => {
  const fails = `import { isMainThread, parentPort } from 'node:worker_threads'
    if (!isMainThread) parentPort.on('message', (asked) => { if (asked === 'begin') throw new Error('lost') })`
  const system = launch(preloading(fails))
  await until('the end', async () => system.process.exitCode ?? undefined)
  expect(system.process.exitCode).toBe(1)
  expect(system.output()).toMatch(/^The thread that runs AWS and the worker has failed, .*: Error: lost\n/m)
})

it('a start that has much to read says so before it is ready', async () => {
  const late = `import { isMainThread, parentPort } from 'node:worker_threads'
    if (!isMainThread) {
      const { postMessage } = parentPort
      parentPort.postMessage = (said) => setTimeout(() => postMessage.call(parentPort, said), said.opened ? 2_500 : 0)
    }`
  const DATA_DIR = newFolder()
  const { output } = await start({
    DATA_DIR,
    ...preloading(late),
  })
  expect(output()).toMatch(new RegExp(`^Reading ${DATA_DIR} …\\n\\n  Page and API`))
})

it.skipIf(noLinux.length > 0)(
  `what hangs at the end is left behind, and the folder goes all the same${skipped(noLinux)}`,
  async () => {
    // And rmSync is as on Windows, where it removes no file that is open.
    const hangs = `import fs from 'node:fs'
    import { syncBuiltinESMExports } from 'node:module'
    import { isMainThread, parentPort } from 'node:worker_threads'
    if (!isMainThread) {
      const post = parentPort.on
      parentPort.on = (name, hear) => post.call(parentPort, name, (asked) => asked === 'stop' || hear(asked))
    }
    const { readdirSync, readlinkSync, rmSync } = fs
    const isOpen = (folder) => readdirSync('/proc/self/fd').some((descriptor) => {
      try {
        return readlinkSync('/proc/self/fd/' + descriptor).startsWith(folder)
      } catch {
        return false
      }
    })
    fs.rmSync = (path, options) => {
      for (let left = options.maxRetries ?? 0; isOpen(path); left -= 1) {
        if (left === 0) throw new Error('EBUSY')
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
      }
      rmSync(path, options)
    }
    syncBuiltinESMExports()`
    const TMPDIR = newFolder()
    const env = { TMPDIR, ...preloading(hangs) }
    const system = await start(env)
    expect(readdirSync(TMPDIR)).toHaveLength(1)
    expect(await system.end('SIGTERM')).toBe(0)
    expect(readdirSync(TMPDIR)).toEqual([])
  },
)

it('a start that is ended in its middle leaves no folder, and no line among those of the log', async () => {
  // On a busy machine the rest of the start may take longer than the end waits.
  const ends = `const { setTimeout: later } = globalThis
    globalThis.setTimeout = (run, ms, ...rest) => later(run, ms === 4_500 ? 60_000 : ms, ...rest)
    import fs from 'node:fs'
    import { syncBuiltinESMExports } from 'node:module'
    const { mkdtempSync } = fs
    fs.mkdtempSync = (...args) => {
      process.kill(process.pid, 'SIGTERM')
      return mkdtempSync(...args)
    }
    syncBuiltinESMExports()`
  const TMPDIR = newFolder()
  const env = {
    LOG_FORMAT: 'json',
    TMPDIR,
    ...preloading(ends),
  }
  const { process: child, output } = launch(env)
  let lines = ''
  child.stdout?.on('data', (chunk) => {
    lines += chunk
  })
  await until('the end', async () => child.exitCode ?? child.signalCode ?? undefined)
  expect([child.exitCode, child.signalCode]).toEqual([0, null])
  expect(readdirSync(TMPDIR)).toEqual([])
  expect([lines, output()]).toEqual(['', 'Stopping …\n'])
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
    const env = { TMPDIR, ...preloading(ends) }
    const { process: child } = launch(env, file.startsWith('rekognition') ? ['--port', '0'] : [], file)
    await until('the end', async () => child.exitCode ?? child.signalCode ?? undefined)
    expect([child.exitCode, child.signalCode]).toEqual([0, null])
    expect(readdirSync(TMPDIR)).toEqual([])
  },
)
