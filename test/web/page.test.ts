/// <reference lib="dom" />
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { Browser, BrowserContextOptions, Page, Request } from 'playwright-core'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { CHROMIUM, goTo, skippedWithoutBrowser, startBrowser } from '../browser.ts'
import { finished } from '../context.ts'
import { exifBlock, GPS, picture, withExif } from '../pictures/exif-blocks.ts'
import { CORNERS, cornerColour, distinct, flat, quarters, rgb } from '../pictures/pictures.ts'
import { type System, startSystem } from '../system.ts'
import { SILENT } from '../tools.ts'
import { LONGEST_MS } from '../until.ts'

/** The page as people meet it: the whole system in this process, and a real browser in front of it. */

/** A folder for pictures of what it looks like. */
const { SCREENSHOTS } = process.env
const PHOTO = join(import.meta.dirname, '../fixtures/grace-hopper.jpg')
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What the made-up Rekognition below says of every picture. */
const MADE_UP = {
  DetectLabels: {
    LabelModelVersion: 'made up 1',
    Labels: [
      {
        Name: 'Person',
        Confidence: 99.9,
        Instances: [{ BoundingBox: box(0.1, 0.2, 0.5, 0.6), Confidence: 98.79 }],
      },
      { Name: 'Hat', Confidence: 71.5, Instances: [], Parents: [{ Name: 'Clothing' }] },
    ],
  },
  DetectFaces: {
    FaceDetails: [
      {
        ...{ BoundingBox: box(0.3, 0.25, 0.2, 0.25), Confidence: 99.5, AgeRange: { Low: 60, High: 70 } },
        Emotions: [
          { Type: 'CALM', Confidence: 80 },
          { Type: 'HAPPY', Confidence: 15 },
        ],
      },
    ],
  },
  DetectModerationLabels: {
    ModerationModelVersion: 'made up 1',
    ModerationLabels: [{ Name: 'Uniform', ParentName: 'Made up', Confidence: 61 }],
  },
  DetectText: {
    TextModelVersion: 'made up 1',
    TextDetections: [
      {
        DetectedText: 'HOPPER',
        Type: 'LINE',
        Confidence: 97,
        Geometry: { BoundingBox: box(0.2, 0.8, 0.3, 0.1) },
      },
      {
        DetectedText: 'HOPPER',
        Type: 'WORD',
        Confidence: 97,
        Geometry: { BoundingBox: box(0.2, 0.8, 0.3, 0.1) },
      },
    ],
  },
}
function box(Left: number, Top: number, Width: number, Height: number) {
  return { Left, Top, Width, Height }
}

/** @param held after which it answers */
const madeUp = (held?: Promise<void>): Server =>
  createServer((request, response) => {
    request.resume().on('end', async () => {
      const operation = String(request.headers['x-amz-target']).split('.')[1] as keyof typeof MADE_UP
      await held
      response.setHeader('content-type', 'application/x-amz-json-1.1')
      response.end(JSON.stringify(MADE_UP[operation]))
    })
  })

const listen = async (server: Server): Promise<string> => {
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
const shut = (server: Server) => {
  server.closeAllConnections()
  server.close()
}

describe.skipIf(CHROMIUM === undefined)(`the page in a browser${skippedWithoutBrowser}`, () => {
  let browser: Browser
  let system: System
  let rekognition: Server
  let seeing: System
  let folder: string
  const start = (env: Record<string, string> = {}) =>
    startSystem({ REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0', ...env }, SILENT)

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'image-analyzer-page-'))
    rekognition = madeUp()
    const AWS_ENDPOINT_URL_REKOGNITION = await listen(rekognition)
    ;[browser, system, seeing] = await Promise.all([
      // The contexts share nothing but time: none needs a process more than the others'.
      startBrowser('--renderer-process-limit=1'),
      start({ MAX_IMAGE_BYTES: '200000', GATEWAY_MAX_BYTES: '150000' }),
      start({ AWS_ENDPOINT_URL_REKOGNITION }),
    ])
  })
  afterAll(async () => {
    await browser?.close()
    await Promise.all([system?.stop(), seeing?.stop()])
    shut(rekognition)
    rmSync(folder, { recursive: true, force: true })
  })

  const newContext = (options?: BrowserContextOptions) =>
    // The browser draws less where nothing moves.
    browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce', ...options })
  /** Pages that no test is in now. A new one starts a process of the browser, as costly as what a test does there. */
  const free: Page[] = []
  const newPage = async (options?: BrowserContextOptions): Promise<Page> =>
    (await newContext(options)).newPage()

  /**
   * A page that must be quiet and call only the system.
   *
   * @param options of a page of its own; without, it comes after others, which have left nothing there
   */
  async function open(of: System, options?: BrowserContextOptions, path = '/'): Promise<Page> {
    const page = options === undefined ? (free.pop() ?? (await newPage())) : await newPage(options)
    page.setDefaultTimeout(LONGEST_MS)
    const noise: string[] = []
    const hosts = new Set<string>()
    page.on('console', (message) => {
      // The browser itself reports an answer of 4xx; what the page makes of it is tested where it matters.
      if (message.type() !== 'info' && !message.text().startsWith('Failed to load resource'))
        noise.push(message.text())
    })
    page.on('pageerror', (error) => noise.push(String(error)))
    page.on('request', (request) => {
      if (/^https?:/.test(request.url())) hosts.add(new URL(request.url()).origin)
    })
    onTestFinished(async () => {
      if (options === undefined) {
        await page.evaluate(() => {
          localStorage.clear()
          sessionStorage.clear()
        })
        await page.unrouteAll({ behavior: 'wait' })
        // A place of the same origin that does nothing.
        await goTo(page, `${of.url}/health`)
        await page.removeAllListeners(undefined, { behavior: 'wait' })
        free.push(page)
      } else await page.context().close()
      expect(noise).toEqual([])
      expect([of.url, of.awsEndpoint]).toEqual(expect.arrayContaining([...hosts]))
    })
    await page.goto(of.url + path)
    return page
  }
  const card = (page: Page, name: string) => page.locator('.card').filter({ hasText: name })
  const choose = (page: Page, ...files: (string | { name: string; mimeType: string; buffer: Buffer })[]) =>
    page.locator('#files').setInputFiles(files as string[])
  const png = (name: string, buffer: Buffer) => ({ name, mimeType: 'image/png', buffer })
  const phase = (page: Page, name: string, wanted: string) =>
    card(page, name)
      .and(page.locator(`[data-phase=${wanted}]`))
      .waitFor()
  const shot = async (page: Page, name: string): Promise<void> => {
    if (SCREENSHOTS) await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) })
  }

  it('takes a photo from choice to thumbnail, results, event and back, and weighs under 100 KB', async () => {
    const page = await open(system)
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
    const html = await (await fetch(system.url)).arrayBuffer()
    expect(html.byteLength).toBeLessThan(100_000)
    await page.getByText('The photos you add appear here.').waitFor()
    await choose(page, PHOTO)
    await phase(page, 'grace-hopper.jpg', 'completed')
    await page.waitForFunction(
      () => document.querySelector<HTMLImageElement>('.card img')?.naturalWidth === 128,
    )
    await page.getByText('Stand-in results.').waitFor()
    await card(page, 'grace-hopper.jpg').locator('.open').click()
    const panel = page.locator('#panel')
    await panel.getByText('Sharpness', { exact: true }).waitFor()
    const imageId = await panel.locator('dd.mono').first().textContent()
    expect(await panel.locator('pre').first().textContent()).toBe(`curl '${system.url}/images/${imageId}'`)
    await panel.getByRole('button', { name: 'Copy curl command' }).click()
    expect(await page.evaluate(() => navigator.clipboard.readText())).toContain(String(imageId))
    await panel.getByText('The event that subscribers got').click()
    const event = await (await fetch(`${system.url}/images/${imageId}/event`)).json()
    expect(JSON.parse((await panel.getByRole('region', { name: 'event' }).textContent()) ?? '')).toEqual(
      event,
    )
    await page.goBack()
    await expect.poll(() => page.locator('#detail').isVisible()).toBe(false)
    expect(new URL(page.url()).pathname).toBe('/')
  })

  it('shows a sharp picture on a card where the screen has two pixels for one, and a thumbnail where there is none', async () => {
    const plain = await start({ PREVIEW: 'off' })
    onTestFinished(() => plain.stop())
    const width = (page: Page, wanted: number) =>
      expect
        .poll(() => page.evaluate(() => document.querySelector<HTMLImageElement>('.card img')?.naturalWidth))
        .toBe(wanted)
    for (const [of, wanted] of [
      [seeing, 512],
      [plain, 128],
    ] as const) {
      const page = await open(of, { deviceScaleFactor: 2 })
      await choose(page, PHOTO)
      await phase(page, 'grace-hopper.jpg', 'completed')
      await width(page, wanted)
      await page.reload()
      await width(page, wanted)
    }
  })

  it('draws boxes where they belong, and shows faces, moderation and text', async () => {
    const body = readFileSync(PHOTO)
    await fetch(`${seeing.url}/images?analyses=labels,faces,moderation,text&filename=seen.jpg`, {
      ...{ method: 'POST', headers: { 'content-type': 'image/jpeg' }, body },
    })
    for (const [name, options] of [
      ['light', undefined],
      ['phone', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
    ] as const) {
      const page = await open(seeing, options)
      await phase(page, 'seen.jpg', 'completed')
      await page.getByText('Made-up results.').first().waitFor()
      await shot(page, `list-boxes-${name}`)
      await card(page, 'seen.jpg').locator('.open').click()
      await page.locator('.box').first().waitFor()
      await page.getByText('Nothing that would').waitFor({ state: 'detached' })
      const picture = await page.locator('.frame img').boundingBox()
      const places = {
        person: box(0.1, 0.2, 0.5, 0.6),
        face: box(0.3, 0.25, 0.2, 0.25),
        text: box(0.2, 0.8, 0.3, 0.1),
      }
      for (const [what, { Left, Top, Width, Height }] of Object.entries(places)) {
        const drawn = await page.locator(what === 'person' ? '.box.label' : `.box.${what}`).boundingBox()
        if (!picture || !drawn) throw new Error(`No ${what}.`)
        expect(drawn.x).toBeCloseTo(picture.x + Left * picture.width, -0.5)
        expect(drawn.y).toBeCloseTo(picture.y + Top * picture.height, -0.5)
        expect(drawn.width).toBeCloseTo(Width * picture.width, -0.5)
        expect(drawn.height).toBeCloseTo(Height * picture.height, -0.5)
      }
      expect(await page.locator('#panel').innerText()).toMatch(/Calm[\s\S]+80%[\s\S]+Uniform[\s\S]+HOPPER/)
      await shot(page, `detail-${name}`)
      await page.locator('#close').click()
    }
  })

  it('says that moderation and text were not looked for where no model does, rather than that there is none', async () => {
    await fetch(`${system.url}/images?analyses=labels,moderation,text&filename=unseen.jpg`, {
      ...{ method: 'POST', headers: { 'content-type': 'image/jpeg' }, body: readFileSync(PHOTO) },
    })
    const page = await open(system)
    await phase(page, 'unseen.jpg', 'completed')
    await card(page, 'unseen.jpg').locator('.open').click()
    const sentence = page.locator('#panel').getByText('Not analysed: no model for this is in use here.')
    await expect.poll(() => sentence.count()).toBe(2)
    expect(await page.locator('#panel').innerText()).not.toMatch(/Nothing that would|No text was/)
  })

  it('says that faces were not looked for where the labels show no person', async () => {
    await fetch(`${system.url}/images?analyses=labels,faces-when-person&filename=nobody.png`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: new Uint8Array(await distinct(77)),
    })
    const page = await open(system)
    await phase(page, 'nobody.png', 'completed')
    await card(page, 'nobody.png').locator('.open').click()
    await page
      .locator('#panel')
      .getByText('Faces were not looked for, as the labels show no person.')
      .waitFor()
  })

  it('shows a WebP that EXIF turns upright, so that boxes fit, from the file and from the list', async () => {
    const upright = await (await quarters(160, 120)).png().toBuffer()
    const buffer = await sharp(await sharp(upright).rotate(270).toBuffer())
      .withMetadata({ orientation: 6 })
      .webp({ lossless: true, effort: 0 })
      .toBuffer()
    const page = await open(seeing)
    const expectUpright = async () => {
      await phase(page, 'turned.webp', 'completed')
      await page.locator('.box').first().waitFor()
      const picture = page.locator('.frame img')
      expect(
        await picture.evaluate((image: HTMLImageElement) => [image.naturalWidth, image.naturalHeight]),
      ).toEqual([160, 120])
      await page.locator('#boxes').uncheck()
      const drawn = await picture.screenshot()
      await page.locator('#boxes').check()
      for (const [corner, colour] of Object.entries(CORNERS) as [keyof typeof CORNERS, string][]) {
        const seen = await cornerColour(drawn, corner)
        rgb(colour).forEach((value, channel) => {
          expect(Math.abs((seen[channel] ?? 0) - value), `${corner} is ${seen}`).toBeLessThan(24)
        })
      }
      await shot(page, 'detail-turned')
    }
    await choose(page, { name: 'turned.webp', mimeType: 'image/webp', buffer })
    await phase(page, 'turned.webp', 'completed')
    await card(page, 'turned.webp').locator('.open').click()
    await expectUpright()
    // It is open again, by its address.
    await page.reload()
    await expectUpright()
    // Of an image that was analysed without, there is the original only.
    await page.route(/\/images\/[0-9a-f-]{36}$/, async (route) => {
      const { preview, ...record } = (await (await route.fetch()).json()) as Record<string, unknown>
      expect(preview).toBeDefined()
      await route.fulfill({ json: record })
    })
    await page.keyboard.press('Escape')
    await expect.poll(() => new URL(page.url()).hash).toBe('')
    await page.reload()
    await card(page, 'turned.webp').locator('.open').click()
    await page.locator('.box').first().waitFor()
    expect(await page.locator('.frame img').getAttribute('src')).toMatch(/\/original$/)
  })

  it('says in plain words what is wrong with a file, and tries a failed one again', async () => {
    const page = await open(system)
    await choose(
      page,
      { name: 'notes.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('no picture') },
      { name: 'empty.png', mimeType: 'image/png', buffer: Buffer.alloc(0) },
      // As iPhones name what they have not converted.
      {
        name: 'IMG_1.jpg',
        mimeType: 'image/jpeg',
        buffer: Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic'),
      },
      png('tiny.png', await distinct(1, 40, 40)),
      { name: 'broken.jpg', mimeType: 'image/jpeg', buffer: readFileSync(PHOTO).subarray(0, 30_000) },
    )
    await phase(page, 'notes.jpg', 'rejected')
    await card(page, 'notes.jpg').getByText('The content of this file is not').waitFor()
    await card(page, 'empty.png').getByText('The file is empty.').waitFor()
    await card(page, 'IMG_1.jpg').getByText('This is a HEIC photo (iPhone). Export it as JPEG').waitFor()
    await phase(page, 'broken.jpg', 'failed')
    // The half that can be seen has no icon in its other half.
    expect(await card(page, 'broken.jpg').locator('.thumb .icon').isVisible()).toBe(false)
    expect(await card(page, 'empty.png').locator('.thumb .icon').isVisible()).toBe(true)
    await card(page, 'tiny.png').getByText('at least 80 pixels on each side').waitFor()
    await shot(page, 'errors')
    // A verdict would be the same again; trouble of the surroundings would not.
    await expect.poll(() => page.getByRole('button', { name: 'Try again' }).count()).toBe(0)
    await page.route(/\/images\?/, async (route) => {
      const response = await route.fetch()
      const text = (await response.text()).replaceAll('IMAGE_TOO_SMALL', 'EXHAUSTED')
      await route.fulfill({ response, body: text })
    })
    await page.reload()
    const retried = page.waitForRequest(/\/retry$/)
    await card(page, 'tiny.png').getByRole('button', { name: 'Try again' }).click()
    expect((await (await retried).response())?.status()).toBe(202)
    await phase(page, 'tiny.png', 'failed')
    // Its address says so too, where no list has it.
    await card(page, 'tiny.png').locator('.open').click()
    const other = await open(system, {}, `/?status=completed${new URL(page.url()).hash}`)
    const panel = other.locator('#panel')
    await panel.getByText('For programs').waitFor()
    expect(await panel.textContent()).toContain('at least 80 pixels on each side')
    // There is nothing to do, and no room for it.
    expect(await panel.locator('.actions:not([hidden])').count()).toBe(0)
    await other.close()
    await page.keyboard.press('Escape')
    await choose(page, { name: 'notes.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('no picture') })
    await phase(page, 'notes.jpg', 'rejected')
    await card(page, 'notes.jpg').getByRole('button', { name: 'Dismiss' }).click()
    await expect.poll(() => card(page, 'notes.jpg').count()).toBe(0)
  })

  it('deletes after a question, from the card and from the detail', async () => {
    const page = await open(system)
    await choose(page, png('first.png', await distinct(21)), png('second.png', await distinct(22)))
    await phase(page, 'first.png', 'completed')
    await phase(page, 'second.png', 'completed')
    await card(page, 'first.png').hover()
    await page.getByRole('button', { name: 'Delete first.png' }).click()
    await page.getByRole('button', { name: 'Keep it' }).click()
    await card(page, 'first.png').waitFor()
    await page.getByRole('button', { name: 'Delete first.png' }).click()
    await page.locator('#delete-yes').click()
    await expect.poll(() => card(page, 'first.png').count()).toBe(0)
    await card(page, 'second.png').locator('.open').click()
    await page.locator('#erase').click()
    await shot(page, 'delete')
    await page.locator('#delete-yes').click()
    await expect.poll(() => card(page, 'second.png').count()).toBe(0)
    await page.reload()
    await page.locator('.card, #empty:not([hidden])').first().waitFor()
    expect(
      await page
        .locator('.card')
        .filter({ hasText: /first|second/ })
        .count(),
    ).toBe(0)
  })

  it('is used by the keyboard alone', async () => {
    const page = await open(system)
    await choose(page, png('keys.png', await distinct(31)))
    await phase(page, 'keys.png', 'completed')
    const focus = async (selector: string) => {
      for (let step = 0; step < 40; step += 1) {
        await page.keyboard.press('Tab')
        if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) return
      }
      throw new Error(`The keyboard does not reach ${selector}.`)
    }
    await focus('#files')
    await focus('#folder')
    await focus('#label')
    await focus('.open')
    await page.keyboard.press('Enter')
    await page.locator('#detail').waitFor()
    await focus('summary')
    await page.keyboard.press('Escape')
    await expect.poll(() => page.evaluate(() => document.activeElement?.className)).toBe('open')
    await focus('.trash')
    await page.keyboard.press('Enter')
    await focus('#delete-yes')
    await page.keyboard.press('Enter')
    await expect.poll(() => card(page, 'keys.png').count()).toBe(0)
    expect(await page.evaluate(() => document.activeElement?.tagName)).not.toBe('BODY')
  })

  it('shows a hostile file name as text', async () => {
    const page = await open(system)
    const name = '<img src=x onerror=alert(1)>.jpg'
    page.on('dialog', () => expect.unreachable('The name ran.'))
    await choose(page, { name, mimeType: 'image/jpeg', buffer: readFileSync(PHOTO) })
    await phase(page, name, 'completed')
    await card(page, name).first().locator('.open').click()
    await expect.poll(() => page.locator('#detail-title').textContent()).toBe(name)
    expect(await page.locator('img[src=x]').count()).toBe(0)
    await page.locator('#close').click()
  })

  it('shows when and with what a photo was taken, as text, and where only in the record of one who asked', async () => {
    const page = await open(system)
    const block = exifBlock({
      image: { 271: 'NIKON', 272: 'Nikon <img src=x onerror=document.title="hacked">' },
      photo: { 36867: '2026:05:01 23:34:56', 36881: '-03:00', 42036: 'Lens & Co' },
      gps: GPS,
    })
    await choose(page, {
      name: 'exif.jpg',
      mimeType: 'image/jpeg',
      buffer: withExif(await picture('jpeg', 3), block),
    })
    await phase(page, 'exif.jpg', 'completed')
    await card(page, 'exif.jpg').locator('.open').click()
    const panel = page.locator('#panel')
    await panel.getByText('May 1, 2026, 11:34 PM (UTC-03:00)').waitFor()
    await panel.getByText('Nikon <img src=x onerror=document.title="hacked">', { exact: true }).waitFor()
    await panel.getByText('Lens & Co', { exact: true }).waitFor()
    expect(await page.title()).not.toBe('hacked')
    expect(await panel.textContent()).not.toMatch(/latitude|33\.9116/)
  })

  it('takes 28 photos at once', async () => {
    const page = await open(system)
    const buffers = await Promise.all(Array.from({ length: 28 }, (_, at) => distinct(1_000 + at, 80, 80)))
    await choose(page, ...buffers.map((buffer, at) => png(`crowd-${at}.png`, buffer)))
    await page.waitForFunction(
      () =>
        [...document.querySelectorAll('.card[data-phase=completed] .open')].filter((open) =>
          open.textContent?.startsWith('crowd-'),
        ).length === 28,
      undefined,
    )
    await shot(page, 'crowd')
    // After a reload they come page by page as one scrolls.
    await page.reload()
    await card(page, 'crowd-0.png').waitFor()
    expect(await page.locator('.card').count()).toBeLessThan(28)
    const last = card(page, 'crowd-27.png')
    await expect
      .poll(async () => {
        await page.mouse.wheel(0, 20_000)
        return last.count()
      })
      .toBe(1)
  })

  it.each([1280, 412])(
    'moves next to nothing while a list of one photo appears, %i pixels wide',
    async (width) => {
      const posted = await fetch(`${seeing.url}/images?filename=still.png`, {
        ...{ method: 'POST', headers: { 'content-type': 'image/png' } },
        body: new Uint8Array(await distinct(77)),
      })
      const { imageId } = (await posted.json()) as { imageId: string }
      expect(await finished(seeing.url, imageId)).toMatchObject({ status: 'completed' })
      const page = await open(seeing, { viewport: { width, height: 900 } }, '/health')
      await page.addInitScript(() => {
        let [moved, drawn] = [0, 0]
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries())
            moved += (entry as PerformanceEntry & { value: number }).value
        }).observe({ type: 'layout-shift', buffered: true })
        const count = () => {
          drawn += Number(document.querySelector('.card') !== null)
          if (drawn < 10) requestAnimationFrame(count)
          else Object.assign(window, { moved })
        }
        requestAnimationFrame(count)
      })
      await page.goto(`${seeing.url}/?filename=still`)
      await page.waitForFunction(() => 'moved' in window)
      // "Good" (web.dev, "Cumulative Layout Shift").
      expect(await page.evaluate(() => Object(window).moved)).toBeLessThan(0.1)
    },
  )

  it('asks once a second at most, however many photos are under way, and sees the end of each', async () => {
    const held = Promise.withResolvers<void>()
    const late = madeUp(held.promise)
    const slow = await start({ AWS_ENDPOINT_URL_REKOGNITION: await listen(late) })
    onTestFinished(async () => {
      held.resolve()
      await slow.stop()
      shut(late)
    })
    // Of its own, since the clock is the whole context's.
    const page = await open(slow, {})
    // By the page's own clock, one second after the other.
    await page.clock.install()
    await page.reload()
    const buffers = await Promise.all(Array.from({ length: 12 }, (_, at) => distinct(3_000 + at, 80, 80)))
    await choose(page, ...buffers.map((buffer, at) => png(`slow-${at}.png`, buffer)))
    const inWork = page.locator('.card:is([data-phase=pending], [data-phase=processing])')
    await expect.poll(() => inWork.count()).toBe(12)
    // What comes later fills the first page of the list, and more.
    const small = await distinct(3_100, 40, 40)
    for (let at = 0; at < 30; at += 1)
      await fetch(`${slow.url}/images?filename=later.png`, {
        ...{ method: 'POST', headers: { 'content-type': 'image/png' }, body: new Uint8Array(small) },
      })
    let asked = 0
    const underWay = new Set<Request>()
    page.on('request', (request) => {
      if (!/\/images(\?|\/[0-9a-f-]{36}(\?|$))/.test(request.url())) return
      asked += 1
      underWay.add(request)
    })
    page.on('requestfinished', (request) => underWay.delete(request))
    page.on('requestfailed', (request) => underWay.delete(request))
    // The page's clock stands still until all that it has asked is answered, however long that takes.
    const settle = async () => {
      const health = () => page.evaluate(async () => (await fetch('health')).text())
      await health()
      await expect.poll(() => underWay.size).toBe(0)
      await health()
    }
    const second = async () => {
      await page.clock.runFor(1_000)
      await settle()
    }
    await page.clock.pauseAt(new Date(Date.now() + 60_000))
    // What the machine's own time has brought until then does not count.
    await settle()
    asked = 0
    for (let seconds = 1; seconds <= 10; seconds += 1) {
      await second()
      expect(asked).toBeLessThanOrEqual(seconds + 1)
    }
    expect(asked).toBeGreaterThan(2)

    // Where nothing changes it asks less often, and for one photo after the other what it waits for.
    const waits = { for: 'budget', until: new Date(Date.now() + 3_600_000).toISOString() }
    // Also of photos that the worker has not taken up.
    const taken = (record: { status: string }) =>
      record.status === 'pending' ? { ...record, status: 'processing' } : record
    await page.route(/\/images(\?|\/[0-9a-f-]{36}$)/, async (route) => {
      const response = await route.fetch()
      const body = Object(await response.json())
      const json = body.items ? { ...body, items: body.items.map(taken) } : { ...taken(body), waits }
      await route.fulfill({ response, json })
    })
    // Not at once: first it hears that all are taken up.
    const askedIn30Seconds = async () => {
      await page.clock.fastForward(130_000)
      await settle()
      asked = 0
      for (let seconds = 5; seconds <= 30; seconds += 5) {
        await page.clock.runFor(5_000)
        await settle()
      }
      return asked
    }
    await expect.poll(askedIn30Seconds).toBeLessThanOrEqual(5)
    expect(asked).toBeGreaterThan(1)
    const waiting = inWork.getByText('Waiting for the month’s budget')
    const seenToWait = async () => {
      await page.clock.runFor(10_000)
      await settle()
      return waiting.count()
    }
    await expect.poll(seenToWait).toBeGreaterThan(0)
    await page.unrouteAll({ behavior: 'wait' })

    held.resolve()
    const listed = async () =>
      (await (await fetch(`${slow.url}/images?status=completed&limit=100`)).json()) as { items: unknown[] }
    await expect.poll(async () => (await listed()).items.length).toBe(12)
    const before = asked
    await expect
      .poll(async () => {
        await second()
        return page.locator('.card[data-phase=completed]').count()
      })
      .toBe(12)
    expect(asked - before).toBeLessThan(8)
  })

  it('keeps the order of photos that were added together after a reload', async () => {
    const fresh = await start()
    onTestFinished(() => fresh.stop())
    const page = await open(fresh)
    const buffers = await Promise.all(
      Array.from({ length: 12 }, (_, at) => distinct(3_200 + at, 80 + 40 * (at % 3))),
    )
    await choose(page, ...buffers.map((buffer, at) => png(`order-${at}.png`, buffer)))
    await expect.poll(() => page.locator('.card[data-phase=completed]').count()).toBe(12)
    const names = () => page.locator('.card .open').allTextContents()
    const before = await names()
    await page.reload()
    await page.locator('.card').nth(11).waitFor()
    expect(await names()).toEqual(before)
    // Three are sent at a time, so that a neighbour may come first.
    before.forEach((name, place) => {
      expect(Math.abs(Number(/\d+/.exec(name)) - place), before.join()).toBeLessThan(4)
    })
  })

  it('sends a large file by a form to the bucket, with its progress', async () => {
    const page = await open(system)
    const noise = await flat(600, 600).png({ compressionLevel: 0 }).toBuffer()
    expect(noise.length).toBeGreaterThan(200_000)
    const posted: string[] = []
    page.on('request', (request) => request.method() === 'POST' && posted.push(request.url()))
    const devtools = await page.context().newCDPSession(page)
    onTestFinished(() => devtools.detach())
    const network = { offline: false, latency: 0, downloadThroughput: -1 }
    // Slow until there was a progress to see: a megabyte would take ten seconds.
    await devtools.send('Network.emulateNetworkConditions', { ...network, uploadThroughput: 100_000 })
    // A type that no API knows: the bytes show it.
    await choose(page, { ...png('large.png', noise), mimeType: 'image/x-odd' })
    await card(page, 'large.png')
      .getByText(/Uploading [1-9]\d?%/)
      .waitFor()
    await devtools.send('Network.emulateNetworkConditions', { ...network, uploadThroughput: -1 })
    await phase(page, 'large.png', 'completed')
    expect(posted[0]).toBe(`${system.url}/uploads`)
    expect(posted[1]).toContain(system.awsEndpoint)
    expect(posted).toHaveLength(2)
  })

  it('takes answers of a gateway for what they mean: a 413 sends the file by a form, others are explained', async () => {
    const page = await open(system)
    const answers: string[] = []
    page.on('response', async (response) => {
      if (response.request().method() === 'POST')
        answers.push(`${response.status()} ${new URL(response.url()).pathname}`)
    })
    const noise = await flat(230, 230).png({ compressionLevel: 0 }).toBuffer()
    expect(noise.length).toBeGreaterThan(150_000)
    expect(noise.length).toBeLessThan(200_000)
    await choose(page, png('middling.png', noise))
    await phase(page, 'middling.png', 'completed')
    expect(answers.slice(0, 2)).toEqual(['413 /images', '201 /uploads'])

    const refusals = {
      401: 'This server takes signed requests only.',
      403: 'This server takes signed requests only.',
      429: 'The server takes no more photos for now.',
      503: 'The server cannot take photos just now.',
      budget: 'The server takes no more photos this month: its budget is spent.',
    }
    await page.route(/\/images\?filename=/, (route) => {
      const [, name] = /(\w+)\.png/.exec(route.request().url()) ?? []
      const json = name === 'budget' ? { code: 'BUDGET_EXHAUSTED' } : { message: 'In its own words' }
      // Longer than the page's own wait.
      const headers = { 'retry-after': '999' }
      return route.fulfill({ status: Number(name) || 429, headers, json })
    })
    for (const name of Object.keys(refusals))
      await choose(page, png(`${name}.png`, await distinct(Number(name) || 430)))
    for (const [name, sentence] of Object.entries(refusals)) {
      await phase(page, `${name}.png`, 'rejected')
      await card(page, `${name}.png`).getByText(sentence).waitFor()
    }
  })

  it('takes the pictures of a folder, and of one that is dropped', async () => {
    const holiday = join(folder, 'holiday')
    mkdirSync(join(holiday, 'day two'), { recursive: true })
    writeFileSync(join(holiday, 'beach.png'), await distinct(41))
    writeFileSync(join(holiday, 'day two', 'hill.png'), await distinct(42))
    writeFileSync(join(holiday, 'notes.txt'), 'no picture')
    writeFileSync(join(holiday, '.hidden.png'), 'no picture')
    const page = await open(system)
    await page.locator('#folder').setInputFiles(holiday)
    await phase(page, 'beach.png', 'completed')
    await phase(page, 'hill.png', 'completed')
    expect(await page.locator('#note').textContent()).toBe('1 other file skipped.')

    const devtools = await page.context().newCDPSession(page)
    onTestFinished(() => devtools.detach())
    const data = { items: [], files: [holiday], dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
      await devtools.send('Input.dispatchDragEvent', { type, x: 640, y: 400, data })
    await expect.poll(() => card(page, 'hill.png').count()).toBe(2)
    expect(await card(page, 'beach.png').count()).toBe(2)
    expect(
      await page
        .locator('.card')
        .filter({ hasText: /notes|hidden/ })
        .count(),
    ).toBe(0)
  })

  it('searches by label in any case, filters by status, and keeps both in the address', async () => {
    const page = await open(system)
    await choose(
      page,
      { name: 'wanted.jpg', mimeType: 'image/jpeg', buffer: readFileSync(PHOTO) },
      png('unwanted.png', await distinct(51)),
      png('small.png', await distinct(52, 40, 40)),
    )
    await phase(page, 'wanted.jpg', 'completed')
    await phase(page, 'unwanted.png', 'completed')
    await phase(page, 'small.png', 'failed')
    await page.locator('#label').fill('high contrast')
    await expect.poll(() => card(page, 'unwanted.png').count()).toBe(0)
    await card(page, 'wanted.jpg').waitFor()
    await page.locator('#confidence').selectOption('95')
    await page.getByText('No photo matches.').first().waitFor()
    await page.reload()
    await page.getByText('No photo matches.').first().waitFor()
    await page.locator('#clear').click()
    await card(page, 'unwanted.png').waitFor()
    await page.locator('[name=status]').selectOption('failed')
    await card(page, 'small.png').waitFor()
    await expect.poll(() => page.locator('.card:not([data-phase=failed])').count()).toBe(0)
    expect(new URL(page.url()).search).toBe('?status=failed')
    // Days in the wrong order are no query's fault, and there is nothing to try again.
    await page.getByText('Dates', { exact: true }).click()
    await page.locator('#live').getByText('found.').waitFor({ state: 'attached' })
    await page.locator('[name=from]').fill('2999-02-01')
    await page.locator('#live').getByText('No photo matches.').waitFor({ state: 'attached' })
    await page.locator('[name=to]').fill('2026-01-31')
    const wrong = 'The first day is after the last day.'
    await page.locator('#empty').getByText(wrong).waitFor()
    await page.locator('#live').getByText(wrong).waitFor({ state: 'attached' })
    expect(await page.locator('#older').isVisible()).toBe(false)
    // What is added is seen.
    await choose(page, png('new.png', await distinct(53)))
    await phase(page, 'new.png', 'completed')
    expect(new URL(page.url()).search).toBe('')
  })

  it('says what a search found however much else happens', async () => {
    const page = await open(system, {})
    await page.clock.install()
    await page.reload()
    await page.clock.pauseAt(new Date(Date.now() + 60_000))
    for (const name of ['a.png', 'b.png', 'c.png', 'd.png']) await choose(page, png(name, Buffer.alloc(0)))
    const answered = page.waitForResponse(/\/images\?status=processing/)
    await page.locator('[name=status]').selectOption('processing')
    await page.clock.runFor(1)
    await (await answered).finished()
    // The page has read that answer before this one.
    await page.evaluate(async () => (await fetch('health')).text())
    await page.clock.runFor(1_000)
    expect(await page.locator('#live').textContent()).toMatch(/^\d updates\..* No photo matches\./)
  })

  it('finds photos by labels that it suggests, by their chips, and by a part of their names', async () => {
    const page = await open(seeing)
    await choose(page, png('first.png', await distinct(61)), png('other.png', await distinct(62)))
    await phase(page, 'first.png', 'completed')
    await phase(page, 'other.png', 'completed')
    const query = () => decodeURIComponent(new URL(page.url()).search)
    await page.locator('#label').fill('ha')
    const suggested = page.locator('#suggestions option')
    await expect
      .poll(() => suggested.evaluateAll((all) => all.map((one) => (one as HTMLOptionElement).value)))
      .toEqual(['Hat'])
    await page.locator('#label').fill('hat')
    await page.keyboard.press('Enter')
    await expect.poll(query).toBe('?label=Hat')
    await page.getByRole('button', { name: 'Remove Hat' }).waitFor()
    await card(page, 'first.png').getByRole('button', { name: 'Show photos with Person' }).click()
    await expect.poll(query).toBe('?label=Hat&label=Person')
    await card(page, 'other.png').waitFor()
    await page.locator('#label').fill('IRST')
    await expect.poll(query).toBe('?label=Hat&label=Person&filename=IRST')
    await expect.poll(() => page.locator('.card').count()).toBe(1)
    await page.locator('#live').getByText('1 photo found.').waitFor({ state: 'attached' })
    await page.locator('#people').selectOption('emotion=CALM')
    await expect.poll(query).toBe('?label=Hat&label=Person&filename=IRST&emotion=CALM')
    await card(page, 'first.png').waitFor()
    await page.locator('#people').selectOption('emotion=HAPPY')
    await page.getByText('No photo matches.').first().waitFor()
    await page.reload()
    await page.getByText('No photo matches.').first().waitFor()
    await page.locator('#people').selectOption('')
    await card(page, 'first.png').waitFor()
    await page.getByRole('button', { name: 'Remove Person' }).click()
    await expect.poll(query).toBe('?label=Hat&filename=IRST')
    await page.locator('#label').fill('blue, sharp,')
    await expect.poll(query).toBe('?label=Hat&label=blue&label=sharp')
  })

  it('offers photos to try at a first visit, and looks for text in them too', async () => {
    // A system without photos.
    const fresh = await start()
    onTestFinished(() => fresh.stop())
    const page = await open(fresh)
    await page.getByText('No photo at hand?').waitFor()
    const pictures = page.locator('#samples img')
    await expect
      .poll(() =>
        pictures.evaluateAll((all) => all.map((one) => (one as HTMLImageElement).naturalWidth > 100)),
      )
      .toEqual([true, true, true])
    await shot(page, 'first-visit')
    const sent = page.waitForRequest(/\/images\?/)
    await page.getByRole('button', { name: 'A sign' }).click()
    expect(new URL((await sent).url()).searchParams.get('analyses')).toBe('labels,faces,text,metadata')
    await phase(page, 'sign.jpg', 'completed')
    await page.locator('#samples').waitFor({ state: 'hidden' })
    expect((await fetch(`${fresh.url}/samples/cat.jpg`, { method: 'HEAD' })).status).toBe(200)
    expect((await fetch(`${fresh.url}/samples/other.jpg`)).status).toBe(404)
    expect((await fetch(`${fresh.url}/samples/..%2fpage.html`)).status).toBe(404)
  })

  it('gives each photo an address, which another browser opens, and Back and a reload keep', async () => {
    const page = await open(seeing)
    await choose(page, png('addressed.png', await distinct(63)))
    await phase(page, 'addressed.png', 'completed')
    await card(page, 'addressed.png').locator('.open').click()
    const hat = page.locator('#panel .row').filter({ hasText: 'Hat' })
    await hat.waitFor()
    const { hash } = new URL(page.url())
    expect(hash).toMatch(/^#\/photos\/[0-9a-f-]{36}$/)
    // The picture is made larger by keys and by a double click, and a box lights its row.
    const transform = () => page.locator('.frame').evaluate((frame) => (frame as HTMLElement).style.transform)
    await page.keyboard.press('+')
    await expect.poll(transform).toMatch(/scale\(1\.25\)$/)
    await page.keyboard.press('0')
    await expect.poll(transform).toBe('')
    await page.locator('#canvas').dblclick()
    await expect.poll(transform).toMatch(/scale\(2\.5\)$/)
    await page.locator('#canvas').dblclick()
    await expect.poll(transform).toBe('')
    await page.locator('#canvas .box.face').hover()
    await page.locator('#panel .row.lit').filter({ hasText: 'Face 1' }).waitFor()
    await expect
      .poll(() => page.locator('.crop').evaluate((crop) => (crop as HTMLElement).style.backgroundImage))
      .toMatch(/^url\("/)
    // Only what is as sure as the slider says is seen.
    const boxes = page.locator('#canvas .box')
    expect(await boxes.count()).toBeGreaterThan(1)
    await page.locator('#least').fill('98')
    await hat.waitFor({ state: 'hidden' })
    await page.locator('#canvas .box.label').waitFor()
    await page.locator('#least').fill('99')
    await page.locator('#canvas .box.label').waitFor({ state: 'hidden' })
    await page.locator('#canvas .box.face').waitFor()
    await page.goBack()
    await expect.poll(() => page.locator('#detail[open]').count()).toBe(0)
    expect(new URL(page.url()).hash).toBe('')
    await page.goForward()
    await page.locator('#detail[open]').getByText('addressed.png').first().waitFor()
    await page.reload()
    await page.locator('#detail[open]').getByText('addressed.png').first().waitFor()
    await page.keyboard.press('Escape')
    await expect.poll(() => new URL(page.url()).hash).toBe('')

    // Not in the list of this one.
    const other = await open(seeing, {}, `/?status=failed${hash}`)
    await other.locator('#detail[open]').getByText('addressed.png').first().waitFor()
    await other.locator('#panel .row').filter({ hasText: 'Hat' }).waitFor()
    await other.goto(`${seeing.url}/#/photos/01a20f3c-366e-734c-99ed-0d5fffb2c168`)
    await other.locator('#note').getByText('This photo is no longer on the server.').waitFor()
    expect(await other.locator('#detail[open]').count()).toBe(0)
  })

  it('takes several photos out as a file, or away, and looks for what is chosen', async () => {
    const page = await open(seeing)
    await page.getByText('What to look for').first().click()
    await page.getByLabel('Faces').uncheck()
    await page.getByLabel('Text', { exact: true }).check()
    const sent = page.waitForRequest(/\/images\?/)
    await choose(page, png('=one; +2.png', await distinct(64)), png('two.png', await distinct(65)))
    expect(new URL((await sent).url()).searchParams.get('analyses')).toBe('labels,text,metadata')
    await phase(page, '=one; +2.png', 'completed')
    await phase(page, 'two.png', 'completed')
    await page.reload()
    await page.getByText('What to look for').first().click()
    expect(await page.getByLabel('Faces').isChecked()).toBe(false)
    await page.getByLabel('Select two.png').check()
    await page.getByText('1 photo selected').waitFor()
    const all = await page.locator('.card').count()
    expect(await page.getByRole('button', { name: 'Select all' }).count()).toBe(1)
    await page.getByRole('button', { name: 'Select all' }).click()
    await expect.poll(() => page.locator('#selected').textContent()).toBe(`${all} photos selected`)
    // There is no more to select, and the focus has to be somewhere.
    expect(await page.locator('#selected-all').isHidden()).toBe(true)
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('selected-json')
    await page.getByRole('button', { name: 'Unselect' }).click()
    // Before the next frame, what was selected still looks so.
    await page.locator('#selection').waitFor({ state: 'hidden' })
    for (const name of ['=one; +2.png', 'two.png']) await page.getByLabel(`Select ${name}`).check()
    await page.getByText('2 photos selected').waitFor()
    await shot(page, 'selected')
    const saved = async (button: string): Promise<string> => {
      const [file] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('button', { name: button }).click(),
      ])
      return readFileSync(await file.path(), 'utf8')
    }
    const records = JSON.parse(await saved('Export JSON')) as { original: { filename: string } }[]
    const byName = (name: string) => records.find(({ original }) => original.filename === name)
    expect(records).toHaveLength(2)
    expect(byName('two.png')).toMatchObject({
      status: 'completed',
      rekognitionLabels: [{ Name: 'Person' }, {}],
    })
    expect(byName('=one; +2.png')).toMatchObject({ rekognitionTextDetections: [{}, {}] })
    const [head, ...rows] = (await saved('Export CSV')).trimEnd().split('\r\n')
    // Without the mark, Excel reads é as Ã©.
    expect(head).toMatch(/^\uFEFFimageId,filename,status,/)
    expect(rows.sort((a, b) => Number(/two/.test(b)) - Number(/two/.test(a)))).toEqual([
      expect.stringMatching(/^[0-9a-f-]+,two\.png,completed,.*,Person 99\.9; Hat 71\.5,0,,HOPPER,$/),
      // A spreadsheet must not take it for a formula, nor one that parts cells at semicolons, as in much of Europe.
      expect.stringMatching(/^[0-9a-f-]+,'=one;' \+2\.png,completed,/),
    ])
    await page.locator('#selected-delete').click()
    await page.getByText('Delete 2 photos?').waitFor()
    expect(await page.locator('#delete-text').textContent()).toBe(
      'They and all that was found in them will be gone for good.',
    )
    await page.getByRole('button', { name: 'Keep them' }).click()
    await page.locator('#selected-delete').click()
    await page.locator('#delete-yes').click()
    await expect.poll(() => card(page, '=one; +2.png').count()).toBe(0)
    await expect.poll(() => card(page, 'two.png').count()).toBe(0)
    await expect.poll(() => page.locator('#selection:not([hidden])').count()).toBe(0)
  })

  it('says of a photo whose request broke off that it waits for the server, and sends it when that is back', async () => {
    const page = await open(seeing)
    for (const path of [/\/images\?filename/, /\/health$/]) await page.route(path, (route) => route.abort())
    await choose(page, png('patient.png', await distinct(74)))
    await page.locator('#outage').waitFor()
    expect(await card(page, 'patient.png').locator('.status').textContent()).toBe('Waiting for the server')
    await page.unrouteAll()
    await phase(page, 'patient.png', 'completed')
  })

  it('selects all from one photo to another with the shift key', async () => {
    const page = await open(seeing)
    const names = ['a.png', 'b.png', 'c.png', 'd.png']
    const files = await Promise.all(
      names.map(async (name, at) => png(`row-${name}`, await distinct(70 + at))),
    )
    await choose(page, ...files)
    for (const name of names) await phase(page, `row-${name}`, 'completed')
    const box = (name: string) => page.getByLabel(`Select row-${name}`)
    await box('a.png').click()
    await box('c.png').click({ modifiers: ['Shift'] })
    await expect.poll(() => page.locator('#selected').textContent()).toBe('3 photos selected')
    expect(await box('b.png').isChecked()).toBe(true)
    // Backwards, and as the last click says.
    await box('b.png').click({ modifiers: ['Shift'] })
    await page.getByText('1 photo selected').waitFor()
    expect(await box('a.png').isChecked()).toBe(true)
    await box('d.png').focus()
    await page.keyboard.press('Space')
    await page.getByText('2 photos selected').waitFor()
    await page.locator('#selected-none').click()
  })

  it('leaves the list in its place while photos are selected, and shows names from right to left whole', async () => {
    const page = await open(seeing)
    const name = 'صورة القط في الحديقة الكبيرة خلف البيت القديم.png'
    await choose(page, png(name, await distinct(66)))
    await phase(page, name, 'completed')
    const first = card(page, name)
    const { y } = (await first.boundingBox()) ?? {}
    await page.getByLabel(`Select ${name}`).check()
    await page.getByText('1 photo selected').waitFor()
    expect(await first.boundingBox()).toMatchObject({ y })
    // What overflows is cut off where such a name ends, at its left.
    expect(
      await first.locator('.open').evaluate((element) => {
        const { direction, textAlign } = getComputedStyle(element)
        return { direction, textAlign }
      }),
    ).toEqual({ direction: 'rtl', textAlign: 'left' })
    // A browser without overflow-clip-margin (Safari) cuts off what is drawn beyond the list: the ring has 5 pixels.
    const room = await first.evaluate((element) => {
      const list = element.parentElement?.getBoundingClientRect() ?? new DOMRect()
      const { left, top, right } = element.getBoundingClientRect()
      const columns = getComputedStyle(element.parentElement ?? element).gridTemplateColumns.split(' ').length
      return Math.min(left - list.left, top - list.top, columns > 1 ? 5 : list.right - right)
    })
    expect(room).toBeGreaterThanOrEqual(5)
    await page.locator('#selected-none').click()
    await first.locator('.open').click()
    // With the digit that rows have, and cut off: the slider at 98.8 would hide it.
    expect(await page.locator('.box.label span').first().textContent()).toBe('Person 98.7%')
    expect(
      await page.locator('#detail-title').evaluate((element) => getComputedStyle(element).direction),
    ).toBe('rtl')
  })

  describe('behind AUTH=jwt', () => {
    let issuer: Server
    let guarded: System
    let token: (subject: string) => Promise<string>
    beforeAll(async () => {
      const keys = await generateKeyPair('ES256')
      const jwk = { ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }
      let JWT_ISSUER = ''
      issuer = createServer((request, response) => {
        const isMetadata = request.url?.includes('openid-configuration')
        const metadata = { issuer: JWT_ISSUER, jwks_uri: `${JWT_ISSUER}/keys` }
        response.end(JSON.stringify(isMetadata ? metadata : { keys: [jwk] }))
      })
      JWT_ISSUER = await listen(issuer)
      guarded = await start({ AUTH: 'jwt', JWT_ISSUER, JWT_AUDIENCE: 'images', MAX_IMAGE_BYTES: '50000' })
      token = (subject) =>
        new SignJWT({})
          .setProtectedHeader({ alg: 'ES256', kid: 'one' })
          .setIssuer(JWT_ISSUER)
          .setAudience('images')
          .setSubject(subject)
          .setExpirationTime('5m')
          .sign(keys.privateKey)
    })
    afterAll(async () => {
      await guarded?.stop()
      shut(issuer)
    })

    it('asks for a token, keeps it for the tab, and never sends it to the bucket', async () => {
      // Of its own, since its download may not have ended when the next test opens a page.
      const page = await open(guarded, {})
      const toBucket: (string | undefined)[] = []
      page.on('request', (request) => {
        if (request.url().startsWith(guarded.awsEndpoint)) toBucket.push(request.headers()['authorization'])
      })
      await page.locator('#token').waitFor()
      await shot(page, 'token')
      await page.locator('#token').fill('nonsense')
      await page.keyboard.press('Enter')
      await page.getByText('The token is not valid, or it has expired.').first().waitFor()
      await page.locator('#token').fill(`Bearer ${await token('somebody')}`)
      await page.keyboard.press('Enter')
      await page.getByText('The photos you add appear here.').waitFor()
      // Over what POST /images takes, so that it goes by the bucket.
      await choose(page, PHOTO)
      await phase(page, 'grace-hopper.jpg', 'completed')
      await page.reload()
      await page.waitForFunction(
        () => document.querySelector<HTMLImageElement>('.card img')?.naturalWidth === 128,
      )
      await page.locator('.open').click()
      await page.waitForFunction(
        () => document.querySelector<HTMLImageElement>('.frame img')?.naturalWidth === 512,
      )
      const download = page.waitForEvent('download')
      await page.locator('#download').click()
      expect((await download).suggestedFilename()).toBe('grace-hopper.jpg')
      expect(toBucket.length).toBeGreaterThan(2)
      expect(toBucket.filter((header) => header !== undefined)).toEqual([])
      await page.locator('#close').click()
    })
  })

  it('has no barrier that axe-core finds, in light and in dark', async () => {
    const check = async (page: Page, state: string) => {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme })
        await page.evaluate(axe)
        const violations = await page.evaluate(
          async (options) => {
            const { axe } = window as unknown as {
              axe: { run: (options: object) => Promise<{ violations: Violation[] }> }
            }
            type Violation = { id: string; nodes: { html: string; failureSummary: string }[] }
            const { violations } = await axe.run(options)
            return violations.map(
              ({ id, nodes }) =>
                `${id}: ${nodes.map(({ html, failureSummary }) => html + failureSummary).join('; ')}`,
            )
          },
          {
            // What violates no rule is not described in full.
            resultTypes: ['violations'],
            // Only contrasts are others in the dark.
            ...(colorScheme === 'dark' && { runOnly: ['color-contrast'] }),
          },
        )
        expect(violations, `${state}, ${colorScheme}`).toEqual([])
        await shot(page, `${state}-${colorScheme}`)
      }
    }
    // With the colours of a person's system, a colour that means something stays, and a border takes the place of a ground.
    const hasOwnColours = async (page: Page) => {
      const look = () =>
        page.evaluate(() => {
          const styleOf = (selector: string, part?: string) => {
            const element = document.querySelector(selector)
            if (element === null) throw new Error(`There is no ${selector}.`)
            return getComputedStyle(element, part)
          }
          return {
            status: styleOf('.status', '::before').backgroundColor,
            box: styleOf('.box').borderTopColor,
            borders: ['#detail', '.chips button'].map((selector) => styleOf(selector).borderTopWidth),
          }
        })
      const { status, box } = await look()
      await page.emulateMedia({ forcedColors: 'active' })
      expect(await look()).toEqual({ status, box, borders: ['1px', '1px'] })
      await shot(page, 'detail-forced-colours')
      await page.emulateMedia({ forcedColors: 'none' })
    }
    // axe-core itself is a script that the policy would not let in.
    const page = await open(seeing, { bypassCSP: true }, '/?label=nothing')
    await page.getByText('No photo matches.').first().waitFor()
    await page.locator('#outage').evaluate((banner) => banner.removeAttribute('hidden'))
    await check(page, 'empty')
    await page.goto(seeing.url)
    await choose(
      page,
      { name: 'barrier.jpg', mimeType: 'image/jpeg', buffer: readFileSync(PHOTO) },
      png('small.png', await distinct(61, 40, 40)),
      { name: 'notes.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('no picture') },
    )
    await card(page, 'barrier.jpg').and(page.locator('[data-phase=completed]')).first().waitFor()
    await card(page, 'small.png').and(page.locator('[data-phase=failed]')).first().waitFor()
    await card(page, 'barrier.jpg').first().getByText('Completed · 1 face').waitFor()
    await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)))
    await check(page, 'list')
    await card(page, 'barrier.jpg').first().locator('.open').click()
    await page.locator('.box').first().waitFor()
    await page.locator('#panel').getByText('The record as JSON').click()
    await check(page, 'detail')
    await hasOwnColours(page)
    await page.locator('#erase').click()
    await check(page, 'question')
    await page.locator('#delete-no').click()
    await page.locator('#close').click()
    await card(page, 'small.png').first().locator('.open').click()
    await check(page, 'error')
    await page.locator('#close').click()
  })
})
