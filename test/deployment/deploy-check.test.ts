import { execFile, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { ROOT } from '../../build/bundle.ts'
import { EMULATOR_NAMES, EMULATORS, recognise } from '../../build/emulators.ts'
import { rowOf, seenOf } from '../../build/emulators-seen.ts'
import { copyModule, missing } from '../../build/terraform.ts'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { freePort, skipped } from '../tools.ts'
import { until } from '../until.ts'

/** What `npm run deploy-check` says, and its last line. */
const deployCheck = (
  ...args: string[]
): Promise<{ code: unknown; output: string; last: string | undefined }> =>
  new Promise((resolve) => {
    const command = ['--disable-warning=ExperimentalWarning', 'run.js', 'build/deploy-check.ts', ...args]
    execFile(process.execPath, command, { cwd: ROOT }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, output: stdout + stderr, last: stdout.trim().split('\n').at(-1) }),
    )
  })

describe('npm run deploy-check', () => {
  it('deploys to nothing that does not answer as an emulator', async () => {
    const server = createServer((_, response) => response.writeHead(403).end())
    onTestFinished(() => void server.close())
    const endpoint = `http://127.0.0.1:${await listen(server, 0)}`
    const { code, output, last } = await deployCheck('--endpoint', endpoint)
    expect(output).toContain(`${endpoint} does not answer as MiniStack, moto, floci, LocalStack, LocalEmu.`)
    expect({ code, last }).toEqual({ code: 1, last: '0 passed, 1 failed' })
  })
})

it('a copy for a check that cannot begin is not left behind', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-no-terraform-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const temporary = join(folder, 'temporary')
  mkdirSync(temporary)
  writeFileSync(join(folder, 'terraform'), '#!/bin/sh\necho no registry >&2\nexit 1\n', { mode: 0o755 })
  vi.stubEnv('PATH', `${folder}${delimiter}${process.env['PATH']}`)
  vi.stubEnv('TMPDIR', temporary)
  onTestFinished(() => void vi.unstubAllEnvs())
  await expect(copyModule('infrastructure')).rejects.toThrow('terraform init failed: no registry')
  expect(readdirSync(temporary)).toEqual([])
})

it.each(EMULATOR_NAMES)('%s is recognised by the path that it answers, and has settings', async (name) => {
  const { health, like } = { like: name, ...EMULATORS[name] }
  const server = createServer(({ url }, answer) => answer.writeHead(url === health ? 200 : 404).end())
  onTestFinished(() => void server.close())
  expect(await recognise(`http://127.0.0.1:${await listen(server, 0)}`, EMULATOR_NAMES)).toBe(name)
  expect(existsSync(join(ROOT, `infrastructure/emulators/${like}.tfvars`))).toBe(true)
})

it.each(['ministack', 'floci'] as const)(
  '%s is not taken for LocalStack, for which it answers too',
  async (name) => {
    const answered: (string | undefined)[] = [EMULATORS[name].health, EMULATORS.localstack.health]
    const server = createServer(({ url }, answer) =>
      answer.writeHead(answered.includes(url) ? 200 : 404).end(),
    )
    onTestFinished(() => void server.close())
    expect(await recognise(`http://127.0.0.1:${await listen(server, 0)}`, EMULATOR_NAMES)).toBe(name)
  },
)

it('what a check has seen names what passed, what is lacking by its reason, and what was refused', () => {
  const steps = [
    { name: 'apply', end: 'passed', said: 'http://127.0.0.1' },
    { name: 'jpeg', end: 'skipped', said: 'it runs nothing' },
    { name: 'png', end: 'skipped', said: 'it runs nothing' },
    { name: 'upload', end: 'failed', said: 'POST answered 500\nand more' },
    { name: 'second plan', end: 'passed', said: 'nothing to change in 3 resources' },
  ] as const
  const seen = seenOf('2026-11-28', '1.2', [...steps])
  expect(seen).toEqual({
    ...{ date: '2026-11-28', version: '1.2', passed: 2, failed: 1 },
    skipped: { 'it runs nothing': 'jpeg, png' },
    refused: { upload: 'POST answered 500' },
    secondPlan: 'nothing to change in 3 resources',
  })
  expect(rowOf('An emulator', seen)).toBe(
    '| An emulator 1.2 | 2026-11-28 | 2 of 5 | jpeg, png: it runs nothing; **upload** failed: POST answered 500 | nothing to change in 3 resources |',
  )
  expect(rowOf('Another', undefined)).toBe('| Another | not seen yet | | | |')
})

/** A clone of MiniStack, with its Python packages in a `.venv` of its own or in those of `python3`. */
const folder = process.env['MINISTACK_DIR']
const own = join(folder ?? '', '.venv/bin/python')
const python = existsSync(own) ? own : 'python3'
const lackingPackages = (): string[] =>
  spawnSync(python, ['-c', 'import uvicorn, defusedxml, yaml']).status === 0
    ? []
    : [`MiniStack's Python packages (${python} -m pip install uvicorn h11 defusedxml pyyaml)`]
const lacking = [...missing(), ...(folder === undefined ? ['MiniStack (MINISTACK_DIR)'] : lackingPackages())]

describe.skipIf(lacking.length > 0)(`npm run deploy-check, on MiniStack${skipped(lacking)}`, () => {
  it('has photos of every kind analysed, sees their events, and leaves nothing behind', async () => {
    const endpoint = await startMiniStack()
    const { code, output, last } = await deployCheck('--endpoint', endpoint)
    expect({ code, last }, output).toEqual({ code: 0, last: '15 passed, 0 failed' })
  })
})

async function startMiniStack(): Promise<string> {
  const port = await freePort()
  const temporary = mkdtempSync(join(tmpdir(), 'image-analyzer-ministack-'))
  const server = spawn(
    python,
    ['-m', 'uvicorn', 'ministack.app:app', '--host', '127.0.0.1', '--port', String(port)],
    {
      cwd: folder,
      env: {
        // Its functions are run by the first node that it finds.
        PATH: [dirname(process.execPath), process.env['PATH']].join(delimiter),
        GATEWAY_PORT: String(port),
        TMPDIR: temporary,
        S3_DATA_DIR: join(temporary, 's3'),
        PYTHONDONTWRITEBYTECODE: '1',
      },
      stdio: 'ignore',
    },
  )
  const ended = new Promise<void>((resolve) => server.once('close', () => resolve()))
  onTestFinished(async () => {
    // Asked to end, it ends its functions too.
    server.kill('SIGTERM')
    await ended
    rmSync(temporary, { recursive: true, force: true })
  })
  const endpoint = `http://127.0.0.1:${port}`
  await until('MiniStack answers', async () => {
    if (server.exitCode !== null) throw new Error(`MiniStack ended with ${server.exitCode}.`)
    return (await fetch(`${endpoint}/_ministack/health`).catch(() => undefined))?.ok || undefined
  })
  return endpoint
}
