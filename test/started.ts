import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect } from 'vitest'
import { until } from './context.ts'
import { children, clear, folders } from './left-behind.ts'
import { NODE } from './tools.ts'

export const root = join(import.meta.dirname, '..')

export interface Running {
  url: string
  aws: string
  process: ChildProcess
  output: () => string
  /** @returns the exit code, or the signal that ended it */
  end: (signal: NodeJS.Signals) => Promise<number | string>
}
/** Gone after the test, as every process that it starts. */
export const newFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'image-analyzer-start-'))
  folders.push(folder)
  return folder
}

/** `npm start` as npm runs it, on free ports; or another file as npm runs that. */
export function launch(
  env: Record<string, string> = {},
  args: string[] = [],
  file = 'local/main.ts',
): Omit<Running, 'url' | 'aws'> {
  const { AWS_ENDPOINT_URL: _, ...inherited } = process.env
  const child = spawn(process.execPath, [...NODE, file, ...args], {
    cwd: root,
    env: {
      ...inherited,
      ...{ REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0', NO_COLOR: '1' },
      // Not where a person may have recordings or models.
      ...{ INIT_CWD: import.meta.dirname, VISION_MODELS: newFolder() },
      // Those that are killed leave what they keep.
      TMPDIR: newFolder(),
      ...env,
    },
  })
  children.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk
    })
  }
  const ended = new Promise<number | string>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal ?? ''))
  })
  return {
    process: child,
    output: () => output,
    end: (signal) => {
      child.kill(signal)
      return ended
    },
  }
}

export const start = (env: Record<string, string> = {}, files: string[] = []): Promise<Running> =>
  ready(launch(env, files))

/** One `npm start` for several tests, whose start takes longer than any of them. */
export function startOnce(settings: () => Record<string, string> = () => ({})): () => Running {
  let running: Running
  const kept = { children: [] as ChildProcess[], folders: [] as string[] }
  beforeAll(async () => {
    running = await start(settings())
    kept.children = children.splice(0)
    kept.folders = folders.splice(0)
  })
  afterAll(() => {
    children.push(...kept.children)
    folders.push(...kept.folders)
    return clear()
  })
  return () => running
}

/** Waits for the ready line. */
export async function ready(running: ReturnType<typeof launch>): Promise<Running> {
  const output = await until('the ready line', async () => {
    const { exitCode } = running.process
    if (exitCode !== null) throw new Error(`exit ${exitCode}: ${running.output()}`)
    return /Ready in/.test(running.output()) ? running.output() : undefined
  })
  const address = (what: string) => new RegExp(`${what} +(http\\S+)`).exec(output)?.[1] ?? ''
  return { ...running, url: address('Page and API'), aws: address('AWS endpoint') }
}

/** The exit of a start that cannot succeed. */
export async function startFails(env: Record<string, string>): Promise<string> {
  const running = launch(env)
  await until('the end', async () => running.process.exitCode ?? undefined)
  expect(running.process.exitCode).toBe(1)
  return running.output().trim()
}

export const post = async (url: string, bytes: Buffer, query = ''): Promise<string> => {
  const response = await fetch(`${url}/images${query}`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: new Uint8Array(bytes),
  })
  expect(response.status).toBe(202)
  return ((await response.json()) as { imageId: string }).imageId
}
