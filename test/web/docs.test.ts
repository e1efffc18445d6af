import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type ServerType, serve } from '@hono/node-server'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import type { Browser, Page } from 'playwright-core'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { buildApp, ROUTES } from '../../api/app.ts'
import type { ApiDeps } from '../../api/deps.ts'
import { IMAGE_ID, openApi } from '../../api/openapi.ts'
import { listen } from '../../packages/embedded-aws/gateway/index.ts'
import { ANALYSES } from '../../shared/image.ts'
import { codeOf } from '../../web/docs-code.js'
import { CHROMIUM, skippedWithoutBrowser, startBrowser } from '../browser.ts'
import { MADE_UP_ANSWERS, startTestSystem, type TestSystem } from '../context.ts'
import { type System, startSystem } from '../system.ts'
import { SILENT, skipped, without } from '../tools.ts'

const photo = `${import.meta.dirname}/../fixtures/grace-hopper.jpg`
const axe = readFileSync(new URL(import.meta.resolve('axe-core/axe.min.js')), 'utf8')

describe.skipIf(CHROMIUM === undefined)(`the API reference at /docs${skippedWithoutBrowser}`, () => {
  let system: TestSystem
  let browser: Browser
  /** One for all: each is a process of the browser. */
  let page: Page
  beforeAll(async () => {
    ;[system, browser] = await Promise.all([startTestSystem(), startBrowser()])
    page = await browser.newPage({ colorScheme: 'light' })
  })
  afterAll(async () => {
    await browser?.close()
    await system?.stop()
  })

  interface Opened {
    trouble: string[]
    app: ReturnType<typeof buildApp>
    close: () => Promise<void>
  }
  /** Below a stage, as on API Gateway, which takes it off the path. */
  async function open(over: Partial<ApiDeps> = {}): Promise<Opened> {
    const app = buildApp({ ...system.api, ...over })
    const server = await new Promise<ServerType>((resolve) => {
      const started = serve({ fetch: withoutStage, port: 0, hostname: '127.0.0.1' }, () => resolve(started))
    })
    function withoutStage(request: Request): Response | Promise<Response> {
      const { pathname, search, origin } = new URL(request.url)
      if (!pathname.startsWith('/live/')) return new Response(null, { status: 403 })
      return app.fetch(new Request(`${origin}${pathname.slice('/live'.length)}${search}`, request))
    }
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const close = async (): Promise<void> => {
      await page.removeAllListeners(undefined, { behavior: 'wait' })
      server.close()
    }
    const trouble: string[] = []
    page.on('console', (message) => trouble.push(`${message.type()}: ${message.text()}`))
    page.on('pageerror', (error) => trouble.push(String(error)))
    page.on('request', (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(origin))
        trouble.push(`asks for ${request.url()}`)
    })
    await page.goto(`${origin}/live/docs`)
    await page.locator('article').first().waitFor()
    return { trouble, app, close }
  }

  const route = (page: Page, id: string) => page.locator('article', { has: page.locator(`#${id}`) })
  const send = async (page: Page, id: string): Promise<string> => {
    await route(page, id).getByRole('button', { name: 'Send' }).click()
    await route(page, id).locator('output p').waitFor()
    return route(page, id).locator('output').innerText()
  }

  // In turn on one page, since it takes longer to show it than to do this.
  describe('of an API that lets everybody in', () => {
    let opened: Opened
    beforeAll(async () => {
      opened = await open()
    })
    afterAll(() => opened?.close())

    it('shows every route and event, with nothing of another host and within its policy', async () => {
      const { trouble, app } = opened
      const document = (await (await app.request('/openapi.json')).json()) as {
        paths: Record<string, Record<string, { operationId?: string }>>
        webhooks: object
      }
      const ids = Object.values(document.paths).flatMap((item) =>
        Object.values(item).flatMap(({ operationId }) => operationId ?? []),
      )
      for (const id of ids) expect(await route(page, id).count(), id).toBe(1)
      expect(await page.locator('article').count()).toBe(ids.length + Object.keys(document.webhooks).length)
      // What is folded away is only made when it is opened; and again, of what was in it.
      for (let depth = 0; depth < 3; depth += 1) {
        await page.evaluate('for (const details of document.querySelectorAll("details")) details.open = true')
      }
      const policy = (await app.request('/docs')).headers.get('content-security-policy') ?? ''
      expect(policy).toContain("default-src 'none'")
      expect(policy).not.toContain('unsafe')
      expect(trouble).toEqual([])
    })

    it('shows code for its own address, in the language that was chosen last', async () => {
      const { trouble, app } = opened
      const document = await (await app.request('/openapi.json')).json()
      const base = page.url().replace(/docs$/, '')
      const shown = (id: string) => route(page, id).locator('.code pre:visible').allTextContents()
      const code = (method: string, path: string) => codeOf(document, base, method, path)
      const submit = code('post', '/images')
      expect(await shown('submitImage')).toEqual([submit['curl']])
      await route(page, 'submitImage').getByRole('radio', { name: 'curl' }).focus()
      await page.keyboard.press('ArrowRight')
      expect(await shown('submitImage')).toEqual([submit['JavaScript']])
      expect(await shown('getImage')).toEqual([code('get', '/images/{imageId}')['JavaScript']])
      await page.keyboard.press('ArrowRight')
      await page.reload()
      await page.locator('article').first().waitFor()
      expect(await shown('submitImage')).toEqual([submit['Python']])
      expect(trouble).toEqual([])
    })

    it('has room for the ring of the focus around a route of its list', async () => {
      const link = page.locator('nav a').first()
      await page.locator('.brand a').focus()
      await page.keyboard.press('Tab')
      const [ring, left, right] = await link.evaluate((element) => {
        const { outlineOffset, outlineWidth } = getComputedStyle(element)
        const [inner, outer] = [element, element.closest('nav') as Element].map((one) =>
          one.getBoundingClientRect(),
        )
        const width = Number.parseFloat(outlineOffset) + Number.parseFloat(outlineWidth)
        return [width, (inner?.left ?? 0) - (outer?.left ?? 0), (outer?.right ?? 0) - (inner?.right ?? 0)]
      })
      expect(Math.min(left ?? 0, right ?? 0)).toBe(ring)
    })

    it('sends what is tried', async () => {
      const { trouble } = opened
      await route(page, 'submitImage').getByText('Try it').click()
      await route(page, 'submitImage').locator('input[type=file]').setInputFiles(photo)
      const answer = await send(page, 'submitImage')
      expect(answer).toContain('202 Accepted')
      const imageId = /"imageId": "([^"]+)"/.exec(answer)?.[1] ?? ''
      await system.work()
      await route(page, 'getImage').getByText('Try it').click()
      await route(page, 'getImage').getByLabel('imageId').fill(imageId)
      await route(page, 'getImage').getByLabel('wait').fill('20')
      expect(await send(page, 'getImage')).toContain('"status": "completed"')
      await route(page, 'getThumbnail').getByText('Try it').click()
      await route(page, 'getThumbnail').getByLabel('imageId').fill(imageId)
      expect(await send(page, 'getThumbnail')).toContain('Open it')
      expect(trouble).toEqual([])
    })
  })

  it('is accessible in light and in dark, and sends the token that is given', async () => {
    let authorization: string | undefined
    const { trouble, close } = await open({
      auth: 'jwt',
      identify: async (c) => {
        authorization = c.req.header('authorization')
        return 'somebody'
      },
    })
    onTestFinished(close)
    await page.getByLabel('Bearer token').fill('secret')
    await route(page, 'listImages').getByText('Try it').click()
    expect(await send(page, 'listImages')).toContain('200 OK')
    expect(authorization).toBe('Bearer secret')
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      // Only contrasts are others in the dark, and only what violates a rule is described in full.
      const rules = colorScheme === 'dark' ? { runOnly: ['color-contrast'] } : {}
      const options = JSON.stringify({ ...rules, resultTypes: ['violations'] })
      // By the debugger, which no policy of the page holds back.
      const violations = await page.evaluate(`${axe}; axe.run(${options}).then(({ violations }) =>
      violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)).map(({ id, nodes }) => id + nodes[0].html))`)
      expect(violations, colorScheme).toEqual([])
    }
    expect(trouble).toEqual([])
  })
})

/** What runs the code of a language, which is its last argument. */
const PROGRAMS = {
  curl: ['sh', '-c'],
  JavaScript: [process.execPath, '--input-type=module', '-e'],
  Python: ['python3', '-c'],
} as const
type Language = keyof typeof PROGRAMS
/** The same for codes in turn, each a line of JSON: a program of its own for each takes longer than what they do. */
const IN_TURN: Partial<Record<Language, [string, ...string[]]>> = {
  JavaScript: [
    ...PROGRAMS.JavaScript,
    `import { createInterface } from 'node:readline'
    for await (const line of createInterface({ input: process.stdin })) {
      await import('data:text/javascript,' + encodeURIComponent(JSON.parse(line)))
      console.log('\\0')
    }`,
  ],
  Python: [
    ...PROGRAMS.Python,
    `import json, sys
for line in sys.stdin:
    exec(json.loads(line), {})
    print('\\0', flush=True)`,
  ],
}
const LANGUAGES: [Language, string[]][] = [
  ['curl', without('curl')],
  ['JavaScript', []],
  ['Python', without('python3')],
]
const LIMITS = {
  maxImageBytes: 1,
  maxUploadBytes: 1,
  maxWaitSeconds: 20,
  heic: false,
  analyses: [...ANALYSES],
  faces: 'always' as const,
}
const SECRETS = { TOKEN: 'secret', AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'x' }

interface Document extends Record<string, unknown> {
  paths: Record<string, Record<string, unknown>>
}

let running: System
let document: Document
/** Says whether a value is what the document has at a place. Compiled once for all languages, which takes longer than they do. */
let fitting: (pointer: string) => ValidateFunction
beforeAll(async () => {
  // With recordings, so that there is a person in the photo.
  const env = { REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0', RECORDINGS: MADE_UP_ANSWERS }
  running = await startSystem(env, SILENT)
  document = (await (await fetch(new URL('openapi.json', running.url))).json()) as Document
  const ajv = new Ajv2020({ strict: false })
  addFormats.default(ajv)
  ajv.addSchema(document, 'openapi.json')
  const compiled = new Map<string, ValidateFunction>()
  fitting = (pointer) => {
    const fits = compiled.get(pointer) ?? ajv.compile({ $ref: `openapi.json#/${pointer}` })
    compiled.set(pointer, fits)
    return fits
  }
})
afterAll(() => running?.stop())

describe.each(LANGUAGES)('an example in %s', (language, lacking) => {
  const local = it.skipIf(lacking.length > 0)
  const note = skipped(lacking)
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'image-analyzer-docs-'))
    copyFileSync(photo, join(folder, 'grace-hopper.jpg'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  const begin = (program: string, args: readonly string[]) => {
    const env = { ...process.env, ...SECRETS, AWS_REGION: 'eu-central-1', AWS_SESSION_TOKEN: 'session' }
    const child = spawn(program, args, { cwd: folder, env })
    let errors = ''
    child.stderr.on('data', (chunk) => {
      errors += chunk
    })
    const ended = new Promise((resolve, reject) => child.once('error', reject).once('close', resolve))
    return { child, errors: () => errors, ended }
  }

  /** Its output. */
  async function run(code: string): Promise<string> {
    const [program, ...args] = PROGRAMS[language]
    const { child, errors, ended } = begin(program, [...args, code])
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    const status = await ended
    if (status !== 0) throw new Error(`${code}\nexit ${status}: ${errors()}${output}`)
    return output
  }

  let taker: { child: ChildProcessWithoutNullStreams; lines: AsyncIterator<string>; errors: () => string }
  afterAll(() => void taker?.child.kill())
  /** Its output, by one program for all codes of the language, where there is one. */
  async function runInTurn(code: string): Promise<string> {
    const inTurn = IN_TURN[language]
    if (inTurn === undefined) return run(code)
    if (taker === undefined) {
      const [program, ...args] = inTurn
      const { child, errors } = begin(program, args)
      taker = { child, errors, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() }
    }
    taker.child.stdin.write(`${JSON.stringify(code)}\n`)
    const output: string[] = []
    for (;;) {
      const { value, done } = await taker.lines.next()
      if (done) throw new Error(`${code}\n${taker.errors()}${output.join('\n')}`)
      if (value === '\0') return output.join('\n')
      output.push(value)
    }
  }

  local(`runs and is answered as the document says${note}`, async () => {
    const base = new URL('.', running.url).href
    const tried = new Set<string>()

    function outputOf(method: string, path: string, imageId: string): Promise<string> {
      tried.add(`${method} ${path}`)
      return runInTurn((codeOf(document, base, method, path)[language] ?? '').replaceAll(IMAGE_ID, imageId))
    }
    /** The body, which is held against the document. */
    async function answer(
      status: number,
      method: string,
      path: string,
      imageId = '',
      type = 'application/json',
    ) {
      const output = await outputOf(method, path, imageId)
      const [head = '', body = ''] =
        language === 'curl' ? output.split('\r\n\r\n').slice(-2) : [output.slice(0, 3), output.slice(4)]
      expect(/\d{3}/.exec(head)?.[0], output).toBe(String(status))
      if (status === 204) return
      const where = ['paths', path, method, 'responses', status, 'content', type, 'schema']
      const pointer = where.map((part) => encodeURIComponent(String(part).replaceAll('/', '~1'))).join('/')
      const value = type === 'text/html' ? body : JSON.parse(body)
      const fits = fitting(pointer)
      expect(fits(value), `${method} ${path}: ${JSON.stringify(fits.errors)}`).toBe(true)
      return value
    }

    const one = '/images/{imageId}'
    const { imageId } = await answer(202, 'post', '/images')
    expect(await answer(200, 'get', one, imageId)).toMatchObject({
      ...{ imageId, status: 'completed', original: { filename: 'grace-hopper.jpg' } },
    })
    expect((await answer(200, 'get', '/images')).items).toMatchObject([{ imageId }])
    expect((await answer(200, 'get', '/labels')).items).toContainEqual({ name: 'Person' })
    expect(await answer(200, 'get', `${one}/event`, imageId)).toMatchObject({ detail: { imageId } })
    for (const [name, file, width] of [
      ['thumbnail', 'thumbnail.jpg', 128],
      ['preview', 'preview.jpg', 512],
      ['original', 'original', 512],
    ] as const) {
      await outputOf('get', `${one}/${name}`, imageId)
      expect((await sharp(readFileSync(join(folder, file))).metadata()).width).toBe(width)
    }
    expect(await answer(201, 'post', '/uploads')).toMatchObject({ status: 'awaiting_upload' })

    const broken = { method: 'POST', body: readFileSync(photo).subarray(0, 30_000) }
    const failed = (await (
      await fetch(new URL('images', base), { ...broken, headers: { 'content-type': 'image/jpeg' } })
    ).json()) as { imageId: string }
    expect(await answer(200, 'get', one, failed.imageId)).toMatchObject({ status: 'failed' })
    expect(await answer(202, 'post', `${one}/retry`, failed.imageId)).toMatchObject({
      imageId: failed.imageId,
    })
    await answer(204, 'delete', one, imageId)
    for (const path of ['/health', '/openapi.json']) await answer(200, 'get', path)
    for (const path of ['/docs', '/']) await answer(200, 'get', path, '', 'text/html')

    const all = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.keys(item)
        .filter((key) => key !== 'parameters')
        .map((method) => `${method} ${path}`),
    )
    expect([...tried].sort()).toEqual(all.sort())
  })

  local(`proves who asks, to the API and not to the bucket${note}`, async () => {
    const seen: Record<string, IncomingHttpHeaders> = {}
    const addressOf = async (server: Server): Promise<string> => {
      onTestFinished(() => void server.close().closeAllConnections())
      return `http://127.0.0.1:${await listen(server, 0)}/`
    }
    const bucket = await addressOf(
      createServer((request, response) => {
        seen['bucket'] = request.headers
        response.end('image')
      }),
    )
    const base = await addressOf(
      createServer((request, response) => {
        seen['api'] = request.headers
        response.writeHead(302, { location: `${bucket}thumbnails/1.jpg` }).end()
      }),
    )
    const code = (auth: 'jwt' | 'iam') =>
      codeOf(openApi({ ...LIMITS, auth }, ROUTES), base, 'get', '/images/{imageId}/thumbnail')[language]
    await run(code('jwt') ?? '')
    expect(seen['api']?.authorization).toBe('Bearer secret')
    expect(seen['bucket']).toBeDefined()
    expect(seen['bucket']?.authorization).toBeUndefined()
    expect(readFileSync(join(folder, 'thumbnail.jpg'), 'utf8')).toBe('image')

    // Only curl signs without a library; it asks for the bucket's URL and does not follow it.
    delete seen['bucket']
    expect(code('iam') !== undefined).toBe(language === 'curl')
    if (language !== 'curl') return
    await run(code('iam') ?? '')
    expect(seen['api']).toMatchObject({
      authorization: expect.stringMatching(
        /^AWS4-HMAC-SHA256 Credential=key\/\d{8}\/eu-central-1\/execute-api\//,
      ),
      'x-amz-security-token': 'session',
      accept: 'application/json',
    })
    expect(seen['bucket']).toBeUndefined()
  })
})
