import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { imageSchema } from '../../shared/image.ts'
import { startTestSystem, type TestSystem } from '../context.ts'
import { EXIF_FORMATS, exifBlock, FULL, POSITION, picture, SAID, withExif } from '../pictures/exif-blocks.ts'

describe('an image', () => {
  let system: TestSystem
  const lines: string[] = []
  beforeAll(async () => {
    system = await startTestSystem()
    const note = (...line: unknown[]) =>
      lines.push(
        JSON.stringify(line, (_key, value) => (value instanceof Error ? describeError(value) : value)),
      )
    const log = { info: note, warn: note, error: note }
    Object.assign(system.worker, { log })
    Object.assign(system.api, { log })
  })
  afterAll(() => system.stop())
  const describeError = ({ message, stack, cause }: Error) => ({ message, stack, cause })

  const submit = async (bytes: Uint8Array, analyses?: string, owner = 'me') => {
    const response = await system.app.request(
      `/images${analyses === undefined ? '' : `?analyses=${analyses}`}`,
      {
        method: 'POST',
        headers: { 'content-type': 'application/octet-stream', 'x-test-owner': owner },
        body: new Uint8Array(bytes),
      },
    )
    expect(response.status, await response.clone().text()).toBe(202)
    return ((await response.json()) as { imageId: string }).imageId
  }
  const run = async (bytes: Uint8Array, analyses?: string) => {
    const imageId = await submit(bytes, analyses)
    await system.work()
    const [event] = await system.events()
    const response = await system.app.request(`/images/${imageId}`, { headers: { 'x-test-owner': 'me' } })
    return { imageId, event, record: (await response.json()) as Record<string, unknown> }
  }
  let number = 0
  const photo = async () => {
    number += 1
    return withExif(await picture('jpeg', number), exifBlock(FULL))
  }

  it('has its metadata without being asked for, and its position only where that is named', async () => {
    expect((await run(await photo())).record['metadata']).toEqual(SAID)
    expect((await run(await photo(), 'labels,metadata')).record['metadata']).toEqual(SAID)
    expect((await run(await photo(), 'gps')).record['metadata']).toEqual({ ...SAID, gps: POSITION })
    expect((await run(await photo(), 'labels')).record).not.toHaveProperty('metadata')
  })
  it.each(EXIF_FORMATS)('of %s has what sharp has written into it', async (format) => {
    const bytes = await sharp(await picture(format, 200))
      .withExif({
        IFD0: { Make: 'Kamerawerk', Model: format },
        IFD2: { DateTimeOriginal: '2026:05:01 12:34:56', FNumber: '14/10' },
        IFD3: {
          ...{ GPSLatitudeRef: 'N', GPSLatitude: '51/1 30/1 3230/100' },
          ...{ GPSLongitudeRef: 'W', GPSLongitude: '0/1 7/1 4366/100' },
        },
      })
      .toFormat(format)
      .toBuffer()
    const { record } = await run(bytes, 'gps')
    expect(record['metadata']).toMatchObject({
      ...{ make: 'Kamerawerk', model: format, capturedAt: '2026-05-01T12:34:56', fNumber: 1.4 },
      gps: { latitude: 51.5089722, longitude: -0.1287944 },
    })
  })
  it('without Exif, or with a block that cannot be read, is completed with empty metadata', async () => {
    for (const bytes of [
      await picture('png', 201),
      withExif(await picture('jpeg', 202), Buffer.from('II*\0')),
    ])
      expect((await run(bytes)).record).toMatchObject({ status: 'completed', metadata: {} })
  })
  it('with the bytes of another one has the metadata that it asked for, and none of that one', async () => {
    const bytes = await photo()
    expect((await run(bytes, 'labels,gps')).record['metadata']).toHaveProperty('gps')
    const without = await run(bytes, 'labels,metadata')
    expect(without.record).toMatchObject({ reused: true, metadata: SAID })
    expect(without.record['metadata']).toEqual(SAID)
    const none = await run(bytes, 'labels')
    expect(none.record).toMatchObject({ reused: true })
    expect(none.record).not.toHaveProperty('metadata')
    expect((await run(bytes, 'labels,gps')).record).toMatchObject({
      reused: true,
      metadata: { gps: POSITION },
    })
  })
  it('costs nothing where nothing else is asked for, and nothing is said to be reused', async () => {
    const bytes = await photo()
    const before = system.worker.rekognition.send
    system.worker.rekognition.send = () => {
      throw new Error('a paid call')
    }
    for (let time = 0; time < 2; time += 1) {
      const { record } = await run(bytes, 'metadata')
      expect(record).toMatchObject({ status: 'completed', metadata: SAID })
      expect(record).not.toHaveProperty('reused')
    }
    system.worker.rekognition.send = before
  })
  it('keeps it out of its event, of lists and of the log, also where it fails', async () => {
    lines.length = 0
    const { event, imageId } = await run(await photo(), 'labels,gps')
    const small = await sharp(await photo())
      .resize(20, 20)
      .keepExif()
      .jpeg()
      .toBuffer()
    const cut = (await photo()).subarray(0, -200)
    await submit(small, 'labels,gps')
    await submit(cut, 'labels,gps')
    await system.work()
    const events = await system.events()
    expect(events.map(({ status }) => status)).toEqual(['failed', 'failed'])
    const list = await system.app.request('/images', { headers: { 'x-test-owner': 'me' } })
    const shown = await system.app.request(`/images/${imageId}/event`, { headers: { 'x-test-owner': 'me' } })
    expect(lines.length).toBeGreaterThanOrEqual(2)
    for (const text of [event, events, lines, await list.text(), await shown.text()].map((one) =>
      JSON.stringify(one),
    )) {
      expect(text).not.toMatch(/Kamerawerk|Prüfger|33\.9116|18\.4228|latitude|capturedAt/)
    }
  })
  it('that was stored without metadata is read as ever', async () => {
    const { imageId } = await run(await photo(), 'labels')
    const { metadata: _none, ...stored } = await system.item(imageId)
    expect(imageSchema.parse(stored)).toMatchObject({ imageId, status: 'completed' })
  })
})
