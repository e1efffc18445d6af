/// <reference lib="dom" />
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { deflateSync } from 'node:zlib'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import sharp from 'sharp'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { loadPage } from '../../api/deps.ts'
import { bundlePage } from '../../build/page.ts'
import { CHROMIUM, goTo, skippedWithoutBrowser, startBrowser } from '../browser.ts'
import { pngChunk } from '../pictures/pictures.ts'
import { LONGEST_MS } from '../until.ts'

/** The page before a made-up API, which has many photos, of any day, and answers as a test says. */

interface Made {
  imageId: string
  status: string
  createdAt: string
  [name: string]: unknown
}

const DAY_MS = 86_400_000
/** As of version 7: ids begin with their time. */
const idOf = (time: number): string =>
  `${time
    .toString(16)
    .padStart(12, '0')
    .replace(/(.{8})/, '$1-')}-7000-8000-000000000000`
const made = (time: number, more: object = {}): Made => ({
  ...{ imageId: idOf(time), status: 'completed', createdAt: new Date(time).toISOString() },
  updatedAt: new Date(time).toISOString(),
  ...more,
})
const named = (filename: string) => ({ original: { filename, sha256: 'made up' } })

describe.skipIf(CHROMIUM === undefined)(`the list in a browser${skippedWithoutBrowser}`, () => {
  let browser: Browser
  let shared: Page | undefined
  let server: Server
  let url: string
  /** Newest first. */
  let images: Made[]
  /** Answers a request in its own way, and says so. */
  let answerFirst: (request: IncomingMessage, response: ServerResponse) => boolean

  const page = loadPage(() => bundlePage('page'), 'http://127.0.0.1:1', {
    ...{ MAX_IMAGE_BYTES: 4_500_000, HEIC: false, ANALYSES: ['labels'] },
  })
  const pictureOf = (width: number, height: number) =>
    sharp({ create: { width, height, channels: 3, background: '#3a7' } })
      .jpeg()
      .toBuffer()
  const pictures = { thumbnail: pictureOf(8, 8), preview: pictureOf(900, 600) }
  const json = (response: ServerResponse, body: unknown, status = 200): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    await new Promise((resolve) => request.resume().on('end', resolve))
    if (answerFirst(request, response)) return
    const { pathname, searchParams } = new URL(request.url ?? '', url)
    const [, , id = '', part] = pathname.split('/')
    if (pathname === '/') response.writeHead(200, { 'content-type': 'text/html' }).end(page().html)
    else if (part)
      response
        .writeHead(200, { 'content-type': 'image/jpeg' })
        .end(await pictures[part === 'preview' ? part : 'thumbnail'])
    else if (id) json(response, { ...images.find(({ imageId }) => imageId === id), analyses: [] })
    else if (pathname !== '/images') json(response, {})
    else {
      const [limit, cursor] = [Number(searchParams.get('limit')), Number(searchParams.get('cursor'))]
      const to = searchParams.get('to') ?? '9'
      const found = images.filter(({ createdAt }) => createdAt <= to).slice(cursor)
      json(response, {
        ...{ items: found.slice(0, limit) },
        ...(found.length > limit && { cursor: String(cursor + limit) }),
      })
    }
  }

  beforeAll(async () => {
    server = createServer(answer).listen(0, '127.0.0.1')
    browser = await startBrowser('--renderer-process-limit=1')
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  })
  afterAll(async () => {
    await browser?.close()
    server.closeAllConnections()
    server.close()
  })
  beforeEach(() => {
    images = []
    answerFirst = () => false
  })

  /** @param options of a page of its own, which costs a process of the browser; without, it comes after others */
  async function open(options?: BrowserContextOptions): Promise<Page> {
    if (options === undefined && shared !== undefined) return shared
    const context = await browser.newContext({
      ...{ viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce' as const },
      ...options,
    })
    const opened = await context.newPage()
    opened.setDefaultTimeout(LONGEST_MS)
    opened.on('pageerror', (error) => expect.unreachable(String(error)))
    if (options === undefined) shared = opened
    else onTestFinished(() => context.close())
    return opened
  }
  const inWork = (name: string) => ({ ...named(name), status: 'processing' })

  it('has a heading for each day on which photos were added, here and not by UTC', async () => {
    const now = Date.UTC(2026, 2, 2, 20, 30)
    images = [
      // In Auckland it is 9:30 in the morning of March 3.
      made(now, named('first.jpg')),
      made(now - 2 * 3_600_000, named('second.jpg')),
      made(now - 10 * 3_600_000, named('before midnight.jpg')),
      ...Array.from({ length: 70 }, (_, at) => made(now - 2 * DAY_MS - at, named(`many-${at}.jpg`))),
      made(now - 300 * DAY_MS, named('old.jpg')),
    ]
    const opened = await open({ timezoneId: 'Pacific/Auckland' })
    await opened.clock.setFixedTime(now)
    await goTo(opened, url)
    const days = () =>
      opened
        .locator('#photos')
        .evaluate((list) =>
          [...list.children].map((part) =>
            part.tagName === 'H3' ? part.textContent : part.querySelectorAll('h4').length,
          ),
        )
    await expect
      .poll(async () => {
        await opened.locator('.card').last().scrollIntoViewIfNeeded()
        return days()
      })
      .toEqual([
        ...['Today', 2, 'Yesterday', 1, 'Sunday, March 1, 2026', 60, 10],
        ...['Wednesday, May 7, 2025', 1],
      ])
    await opened
      .locator('#files')
      .setInputFiles([{ name: 'new.gif', mimeType: 'image/gif', buffer: Buffer.from('GIF89a') }])
    await expect.poll(async () => (await days()).slice(0, 2)).toEqual(['Today', 3])
  })

  it('ends on a phone where one has scrolled to, though more photos come', async () => {
    const now = Date.now()
    images = Array.from({ length: 400 }, (_, at) =>
      made(now - at, { ...named(`${at}.jpg`), labelModelVersion: 'stand-in' }),
    )
    let lists = 0
    answerFirst = ({ url: path = '' }) => {
      if (path.startsWith('/images?')) lists += 1
      return false
    }
    const opened = await open({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true })
    await goTo(opened, url)
    await opened.locator('.card').nth(23).waitFor()
    await opened.evaluate(() => scrollTo(0, document.body.scrollHeight))
    await opened.locator('.card').nth(47).waitFor()
    // What is about to be seen is asked for in the next frame, and so before this.
    await opened.evaluate(
      () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
    )
    await opened.evaluate(async () => (await fetch('health')).text())
    expect(lists).toBe(2)
  })

  it('asks again for older photos that could not be shown', async () => {
    const now = Date.now()
    images = Array.from({ length: 30 }, (_, at) => made(now - at, named(`${at}.jpg`)))
    let fails = true
    answerFirst = ({ url: path = '' }, response) => {
      if (!fails || !path.includes('cursor=')) return false
      json(response, { code: 'UNAVAILABLE', detail: 'Try again later.' }, 503)
      return true
    }
    const opened = await open()
    await goTo(opened, url)
    await opened.locator('.card').nth(23).scrollIntoViewIfNeeded()
    await opened.getByText('The photos cannot be shown.').first().waitFor()
    fails = false
    await opened.locator('#older').click()
    await expect.poll(() => opened.locator('.card').count()).toBe(30)
    await expect.poll(() => opened.getByText('The photos cannot be shown.').isVisible()).toBe(false)
  })

  it('waits for the server with the photo that its address names, and says where there is none', async () => {
    images = [made(Date.now(), named('addressed.jpg'))]
    const [{ imageId } = { imageId: '' }] = images
    let broken = 0
    answerFirst = ({ url: path = '', socket }, response) => {
      if (path === '/health') json(response, { status: 'ok' })
      else if (path === `/images/${imageId}` && broken < 2) {
        broken += 1
        socket.destroy()
      } else if (path.endsWith('ffff')) json(response, { code: 'IMAGE_NOT_FOUND' }, 404)
      else return false
      return true
    }
    const opened = await open({})
    await goTo(opened, `${url}#/photos/${imageId}`)
    await opened.locator('#detail[open]').getByText('addressed.jpg').first().waitFor()
    expect(broken).toBe(2)
    await opened.goto(`${url}#/photos/01a20f3c-366e-734c-99ed-0d5fffb2ffff`)
    await opened.locator('#note').getByText('This photo is no longer on the server.').waitFor()
    expect(new URL(opened.url()).hash).toBe('')
  })

  it('sees photos finished while others are still sent', async () => {
    const start = Date.now() - DAY_MS
    const waiting: (() => void)[] = []
    const accept = (response: ServerResponse): void => {
      const image = made(start + images.length, inWork('sent.gif'))
      images.unshift(image)
      json(response, { imageId: image.imageId }, 202)
    }
    answerFirst = ({ method, url: path = '' }, response) => {
      if (method === 'POST') {
        if (images.length < 104) accept(response)
        else waiting.push(() => accept(response))
        return method === 'POST'
      }
      if (!path.includes('to=')) return false
      // With each look one more has been sent.
      waiting.shift()?.()
      if (waiting.length > 0) Object.assign(images.at(-1) ?? {}, { status: 'completed', updatedAt: 'later' })
      return false
    }
    const opened = await open({})
    await opened.clock.install()
    await goTo(opened, url)
    const gif = { name: 'sent.gif', mimeType: 'image/gif', buffer: Buffer.from('GIF89a') }
    await opened.locator('#files').setInputFiles(Array.from({ length: 112 }, () => gif))
    const count = (phases: string) => opened.locator(`.card:is(${phases})`).count()
    await expect
      .poll(async () => {
        await opened.clock.runFor(1_000)
        return count('[data-phase=completed]')
      })
      .toBeGreaterThan(0)
    expect(await count('[data-phase=waiting], [data-phase=uploading]')).toBeGreaterThan(0)
  })

  it('exports in the order of the list with its progress, says what is missing, and stops when it is told to', async () => {
    const now = Date.now()
    images = Array.from({ length: 12 }, (_, at) => made(now - at, named(`${at}.jpg`)))
    let held: (() => void)[] = []
    let isHeld = true
    const asked: string[] = []
    answerFirst = ({ url: path = '' }, response) => {
      const [, id] = /^\/images\/([\w-]+)$/.exec(path) ?? []
      if (!id) return false
      asked.push(id)
      const isLost = id === images[4]?.imageId
      // One comes late.
      const send = () =>
        isLost
          ? json(response, { code: 'IMAGE_NOT_FOUND' }, 404)
          : json(response, { ...images.find(({ imageId }) => imageId === id), analyses: [] })
      if (isHeld) held.push(send)
      else if (asked.length === 1) setTimeout(send, 50)
      else send()
      return true
    }
    const opened = await open()
    await goTo(opened, url)
    await opened.getByLabel('Select 0.jpg', { exact: true }).click()
    await opened.locator('#selected-all').click()
    await opened.locator('#selected-csv').focus()
    await opened.keyboard.press('Enter')
    await opened.getByText('Exporting 12 photos').waitFor()
    await expect.poll(() => held.length).toBe(3)
    for (const send of held) send()
    held = []
    await expect
      .poll(() =>
        opened
          .locator('#exporting')
          .evaluate((bar) => [(bar as HTMLProgressElement).value, (bar as HTMLProgressElement).max]),
      )
      .toEqual([3, 12])
    expect(await opened.locator('#selected-csv').isVisible()).toBe(false)
    await opened.keyboard.press('Enter')
    await opened.getByText('12 photos selected · Export cancelled').waitFor()
    expect(await opened.evaluate(() => document.activeElement?.id)).toBe('selected-csv')
    const before = asked.length
    for (const send of held) send()
    isHeld = false
    await opened.evaluate(async () => (await fetch('health')).text())
    expect(asked.length).toBe(before)

    asked.length = 0
    const [file] = await Promise.all([opened.waitForEvent('download'), opened.keyboard.press('Enter')])
    const chunks: Buffer[] = []
    for await (const chunk of await file.createReadStream()) chunks.push(chunk)
    const names = Buffer.concat(chunks)
      .toString()
      .match(/\d+\.jpg/g)
    expect(names).toEqual(images.map((_, at) => `${at}.jpg`).filter((name) => name !== '4.jpg'))
    await opened.getByText('12 photos selected · 11 exported, 1 could not be read').waitFor()
  })

  it('shows the first of names that would lie over each other, and the others when they are pointed at', async () => {
    const rekognitionFaces = [0, 1, 2, 8].map((at) => ({
      ...{ BoundingBox: { Left: 0.1 + 0.04 * at, Top: 0.4, Width: 0.02, Height: 0.02 }, Confidence: 99 },
    }))
    images = [made(Date.now(), { ...named('group.jpg'), preview: {}, rekognitionFaces })]
    const opened = await open()
    await goTo(opened, url)
    await opened.locator('.open').click()
    const seen = () => opened.locator('.box span:visible').allTextContents()
    await expect.poll(seen).toEqual(['Face 1 99%', 'Face 4 99%'])
    await opened.locator('#panel').getByRole('button', { name: 'Face 2' }).hover()
    await expect.poll(seen).toEqual(['Face 1 99%', 'Face 2 99%', 'Face 4 99%'])
  })

  it('shows boxes as their switch says, which Firefox keeps over a reload', async () => {
    const rekognitionFaces = [0.1, 0.14].map((Left) => ({
      ...{ BoundingBox: { Left, Top: 0.4, Width: 0.02, Height: 0.02 }, Confidence: 99 },
    }))
    images = [made(Date.now(), { ...named('face.jpg'), preview: {}, rekognitionFaces })]
    answerFirst = (request, response) => {
      if (request.url === '/')
        response.end(page().html.replace('id="boxes" type="checkbox" checked', 'id="boxes" type="checkbox"'))
      return request.url === '/'
    }
    const opened = await open()
    await goTo(opened, url)
    await opened.locator('.open').click()
    await opened.locator('.frame img').waitFor()
    expect(await opened.locator('.box:visible').count()).toBe(0)
    await opened.getByLabel('Boxes').check()
    expect(await opened.locator('.box:visible').count()).toBe(2)
    // The others would lie over it.
    expect(await opened.locator('.box span:visible').allTextContents()).toEqual(['Face 1 99%'])
    await opened.keyboard.press('Escape')
  })

  it('moves a picture that is zoomed by the mouse, and selects no text with it', async () => {
    images = [made(Date.now(), { ...named('wide.jpg'), preview: {} })]
    const opened = await open()
    await goTo(opened, url)
    await opened.locator('.open').click()
    const picture = opened.locator('.frame img')
    const from = async () => Object.values((await picture.boundingBox()) ?? {}).map(Math.round)
    await picture.dblclick()
    const [left = 0, top = 0] = await from()
    await opened.mouse.down()
    await opened.mouse.move(700, 500, { steps: 9 })
    const [x = 0, y = 0] = await from()
    await opened.mouse.move(1200, 600, { steps: 9 })
    await opened.mouse.up()
    const [farX = 0, farY = 0] = await from()
    expect([x > left, y > top, farX > x, farY > y]).toEqual([true, true, true, true])
    expect(await opened.evaluate(() => String(getSelection()))).toBe('')
    await opened.keyboard.press('Escape')
  })

  it('downloads a photo without a question while another one is sent, and asks who leaves', async () => {
    images = [made(Date.now(), named('kept.jpg'))]
    answerFirst = (request, response) => {
      if (request.url?.endsWith('/original')) response.setHeader('content-disposition', 'attachment')
      return request.method === 'POST'
    }
    const opened = await open({})
    await opened.goto(url)
    await opened
      .locator('#files')
      .setInputFiles({ name: 'a.gif', mimeType: '', buffer: Buffer.from('GIF89a') })
    await opened.locator('.card', { hasText: 'Upload' }).waitFor()
    await opened.getByRole('button', { name: 'kept.jpg', exact: true }).click()
    const asked = opened.waitForEvent('dialog').then((dialog) => dialog.dismiss())
    const saved = opened.waitForEvent('download').then(() => 'saved')
    await opened.locator('#download').click()
    expect(await Promise.race([asked, saved])).toBe('saved')
    const leave = () => dispatchEvent(new Event('beforeunload', { cancelable: true }))
    expect(await opened.evaluate(leave)).toBe(false)
    // In another tab, so that this page is not asked.
    await opened.clock.install()
    await opened.locator('#download').click({ modifiers: ['ControlOrMeta'] })
    await opened.clock.runFor(60_000)
    expect(await opened.evaluate(leave)).toBe(false)
  })

  it('takes files for dragged until they leave the page, also in Safari, which does not say where to', async () => {
    const opened = await open()
    await goTo(opened, url)
    const after = (...events: [type: string, place: string][]) =>
      opened.evaluate((all) => {
        const dataTransfer = new DataTransfer()
        dataTransfer.items.add(new File([], 'a.png'))
        for (const [type, place] of all)
          document.querySelector(place)?.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true }))
        return document.body.classList.contains('dragging')
      }, events)
    expect(await after(['dragenter', 'h2'], ['dragover', 'h2'])).toBe(true)
    expect(await after(['dragenter', 'footer'], ['dragleave', 'h2'])).toBe(true)
    expect(await after(['dragleave', 'footer'])).toBe(false)
  })

  it('has the ring of the focus inside a label, since a list of labels is cut off at its edge', async () => {
    images = [made(Date.now(), { ...named('dog.jpg'), labels: ['Dog'] })]
    const opened = await open()
    await goTo(opened, url)
    await opened.locator('.open').focus()
    await opened.keyboard.press('Tab')
    const ring = await opened.evaluate(() => {
      const { outlineOffset, outlineStyle, outlineWidth } = getComputedStyle(
        document.activeElement as Element,
      )
      return [outlineStyle, Number.parseFloat(outlineOffset) + Number.parseFloat(outlineWidth)]
    })
    expect(ring).toEqual(['solid', 0])
  })

  it('lets a click select a command, by the name that Safari has for it', () => {
    expect(page().html.match(/[\w-]*user-select/g)).toEqual(['-webkit-user-select', '-webkit-user-select'])
  })

  it('says on the card why a photo could not be tried again', async () => {
    const failure = { code: 'EXHAUSTED', message: 'Given up.' }
    images = [made(Date.now(), { ...named('given up.jpg'), status: 'failed', failure })]
    answerFirst = ({ method }, response) => {
      if (method === 'POST') json(response, { code: 'UNAVAILABLE' }, 503)
      return method === 'POST'
    }
    const opened = await open()
    await goTo(opened, url)
    await opened.getByRole('button', { name: 'Try again' }).click()
    await opened.locator('.why', { hasText: 'It could not be tried again just now: The server' }).waitFor()
    await opened.locator('.open').click()
    await opened.locator('#panel').getByRole('button', { name: 'Try again' }).click()
    // The button has gone and come again, and the keys must still reach the photo.
    await expect
      .poll(() => opened.evaluate(() => document.activeElement?.closest('dialog')?.id))
      .toBe('detail')
    await opened.keyboard.press('Escape')
  })

  it('shows the list where a picture was pasted while a photo was open', async () => {
    images = [made(Date.now(), named('open.jpg'))]
    answerFirst = ({ method }) => method === 'POST'
    const opened = await open()
    await goTo(opened, url)
    await opened.locator('.open').click()
    await opened.locator('#detail[open]').waitFor()
    await opened.evaluate(() => {
      const clipboardData = new DataTransfer()
      clipboardData.items.add(new File(['GIF89a'], 'pasted.gif', { type: 'image/gif' }))
      document.activeElement?.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }))
    })
    await opened.locator('.card', { hasText: 'pasted.gif' }).waitFor({ state: 'attached' })
    expect(await opened.locator('#detail[open]').count()).toBe(0)
  })

  it('draws a small picture of a large photo until there is a thumbnail, and none of one that is too large', async () => {
    answerFirst = ({ method }) => method === 'POST'
    const opened = await open()
    await goTo(opened, url)
    const turned = (width: number, height: number) =>
      sharp({ create: { width, height, channels: 3, background: '#fff' } }).withMetadata({ orientation: 6 })
    // Of one bit each: 13 MB, and next to nothing deflated.
    const header = Buffer.alloc(13)
    header.writeUInt32BE(11_000, 0)
    header.writeUInt32BE(10_000, 4)
    header.writeUInt8(1, 8)
    const huge = Buffer.concat([
      (await turned(1, 1).png().toBuffer()).subarray(0, 8),
      pngChunk('IHDR', header),
      pngChunk('IDAT', deflateSync(Buffer.alloc(10_000 * (1 + 11_000 / 8)), { level: 1 })),
      pngChunk('IEND', Buffer.alloc(0)),
    ])
    const file = async (name: string, mimeType: string, buffer: Promise<Buffer>) => ({
      ...{ name, mimeType, buffer: await buffer },
    })
    await opened
      .locator('#files')
      .setInputFiles([
        await file('large.jpg', 'image/jpeg', turned(2_400, 1_200).jpeg().toBuffer()),
        await file('huge.png', 'image/png', Promise.resolve(huge)),
        await file('small.png', 'image/png', turned(80, 120).png().toBuffer()),
      ])
    const sizes = () =>
      opened.locator('.card').evaluateAll((cards) =>
        cards.map((card) => {
          const { hidden, naturalWidth, naturalHeight } = card.querySelector('img') as HTMLImageElement
          return hidden ? 'none' : `${naturalWidth} × ${naturalHeight}`
        }),
      )
    await expect.poll(sizes).toEqual(['128 × 256', 'none', '120 × 80'])
    await opened.locator('.open', { hasText: 'huge.png' }).click()
    await opened.getByText('This picture has too many pixels to be shown here.').waitFor()
  })
})
