import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { type ServerType, serve } from '@hono/node-server'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type ApiDeps, buildApp } from '../api/app.ts'
import { CHROMIUM, skippedWithoutBrowser, startBrowser } from './browser.ts'
import { startTestSystem, type TestSystem } from './context.ts'

const photo = `${import.meta.dirname}/fixtures/grace-hopper.jpg`
const axe = readFileSync(new URL(import.meta.resolve('axe-core/axe.min.js')), 'utf8')

describe.skipIf(CHROMIUM === undefined)(`the API reference at /docs${skippedWithoutBrowser}`, () => {
  let system: TestSystem
  let browser: Browser
  beforeAll(async () => {
    ;[system, browser] = await Promise.all([startTestSystem(), startBrowser()])
  })
  afterAll(async () => {
    await browser?.close()
    await system?.stop()
  })

  /** Below a stage, as on API Gateway, which takes it off the path. */
  async function open(over: Partial<ApiDeps>, colorScheme: 'light' | 'dark') {
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
    const page = await browser.newPage({ colorScheme })
    onTestFinished(async () => {
      await page.close()
      server.close()
    })
    const trouble: string[] = []
    page.on('console', (message) => trouble.push(`${message.type()}: ${message.text()}`))
    page.on('pageerror', (error) => trouble.push(String(error)))
    page.on('request', (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(origin))
        trouble.push(`asks for ${request.url()}`)
    })
    await page.goto(`${origin}/live/docs`)
    await page.locator('article').first().waitFor()
    return { page, trouble, app }
  }

  const route = (page: Page, id: string) => page.locator('article', { has: page.locator(`#${id}`) })
  const send = async (page: Page, id: string): Promise<string> => {
    await route(page, id).getByRole('button', { name: 'Send' }).click()
    await route(page, id).locator('output p').waitFor()
    return route(page, id).locator('output').innerText()
  }

  it('shows every route and event, with nothing of another host and within its policy', async () => {
    const { page, trouble, app } = await open({}, 'light')
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

  it('sends what is tried', async () => {
    const { page, trouble } = await open({}, 'light')
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

  it.each(['light', 'dark'] as const)(
    'is accessible in %s, and sends the token that is given',
    async (scheme) => {
      let authorization: string | undefined
      const { page, trouble } = await open(
        {
          auth: 'jwt',
          identify: async (c) => {
            authorization = c.req.header('authorization')
            return 'somebody'
          },
        },
        scheme,
      )
      await page.getByLabel('Bearer token').fill('secret')
      await route(page, 'listImages').getByText('Try it').click()
      expect(await send(page, 'listImages')).toContain('200 OK')
      expect(authorization).toBe('Bearer secret')
      // By the debugger, which no policy of the page holds back.
      const violations = await page.evaluate(`${axe}; axe.run().then(({ violations }) =>
      violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)).map(({ id, nodes }) => id + nodes[0].html))`)
      expect(violations).toEqual([])
      expect(trouble).toEqual([])
    },
  )
})
