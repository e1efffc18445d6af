import { readFileSync } from 'node:fs'
import { DeleteObjectCommand, GetObjectCommand } from '@aws-sdk/client-s3'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { until } from '../context.ts'
import { ownTime } from '../own-time.ts'
import { distinct } from '../pictures/pictures.ts'
import {
  calls,
  count,
  eachWithSystem,
  eventOf,
  failedIds,
  objects,
  run,
  SHORT,
  system,
  waits,
  watch,
} from './worker-system.ts'

const photo = readFileSync(new URL('../fixtures/grace-hopper.jpg', import.meta.url))
/** Of which a preview has a side that is too small for Rekognition. */
const STRIP = await sharp({ create: { width: 8_000, height: 100, channels: 3, background: '#48c' } })
  .jpeg()
  .toBuffer()

eachWithSystem()

describe('Rekognition', () => {
  it.each([
    'InvalidImageFormatException',
    'ImageTooLargeException',
    'InvalidParameterException',
    'ValidationException',
  ])('that refuses an image with %s has spoken a verdict', async (name) => {
    const imageId = await system.submit(photo)
    const { RekognitionServiceException, ...known } = await import('@aws-sdk/client-rekognition')
    watch.before = (command) => {
      if (command !== 'DetectLabelsCommand') return
      const options = { name, message: name, $metadata: {}, $fault: 'client' as const }
      const Known = known[name as 'InvalidImageFormatException']
      throw Known === undefined ? new RekognitionServiceException(options) : new Known(options)
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({
      status: 'failed',
      failure: { code: 'ANALYSIS_REFUSED' },
    })
  })
  describe('that refuses an original', () => {
    type Asked = { name: string; Image: { Bytes?: Uint8Array; S3Object?: object } }
    let asked: Asked[]
    /**
     * Each call is noted.
     *
     * @param refused what it refuses
     * @param together how many are refused at once: a call whose turn comes after the first refusal is not made so any more
     */
    const refuse = async (refused: (call: Asked) => boolean, together = 1): Promise<void> => {
      const { InvalidImageFormatException: Refused } = await import('@aws-sdk/client-rekognition')
      asked = []
      watch.before = async (name, input) => {
        if (!name.startsWith('Detect')) return
        const call = { name, Image: input['Image'] as Asked['Image'] }
        asked.push(call)
        if (!refused(call)) return
        await until('all are asked', async () => asked.filter(refused).length >= together || undefined)
        throw new Refused({ message: 'Request has invalid image format', $metadata: {} })
      }
    }
    const stored = async (Key: string): Promise<Buffer> => {
      const { Body } = await system.worker.s3.send(new GetObjectCommand({ Bucket: system.names.bucket, Key }))
      return Buffer.from((await Body?.transformToByteArray()) ?? [])
    }
    const byReference = ({ Image }: Asked): boolean => Image.S3Object !== undefined
    const submitAll = async (bytes: Uint8Array): Promise<string> => {
      const path = '/images?analyses=labels,faces,moderation,text'
      const headers = { 'content-type': 'image/jpeg' }
      const body = new Uint8Array(bytes)
      const answer = await system.app.request(path, { method: 'POST', headers, body })
      return ((await answer.json()) as { imageId: string }).imageId
    }

    it('gets the preview, once for all four analyses, and the image is completed at the first attempt', async () => {
      const imageId = await submitAll(photo)
      await refuse(byReference, 4)
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({
        ...{ status: 'completed', attempts: 1, labelModelVersion: 'stand-in' },
        rekognitionLabels: expect.arrayContaining([
          expect.objectContaining({ Name: 'Portrait Orientation' }),
        ]),
      })
      const preview = await stored(`previews/${imageId}.jpg`)
      const sent = asked.flatMap(({ Image }) => (Image.Bytes === undefined ? [] : [Buffer.from(Image.Bytes)]))
      expect(sent).toHaveLength(4)
      for (const bytes of sent) expect(bytes.equals(preview)).toBe(true)
      expect(asked).toHaveLength(8)
    })

    it('gets a JPEG that is made for it where there is no preview, or none that it would take', async () => {
      for (const [bytes, preview, width, height] of [
        [photo, false, 512, 600],
        [STRIP, true, 6_400, 80],
      ] as const) {
        system.worker.preview = preview
        const imageId = await submitAll(bytes)
        await refuse(byReference)
        calls.length = 0
        expect(await failedIds(run(eventOf(imageId)))).toEqual([])
        expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 1 })
        const sent = asked.flatMap(({ Image }) => Image.Bytes ?? [])
        expect(sent).toHaveLength(4)
        for (const jpeg of sent)
          expect(await sharp(jpeg).metadata()).toMatchObject({ format: 'jpeg', width, height })
        // The original is read and decoded once more, for all four.
        expect(count('GetObjectCommand')).toBe(2)
      }
    })

    it('gets it also where it has refused the bytes of the original', async () => {
      system.worker.rekognitionSource = 'bytes'
      const imageId = await system.submit(photo)
      await refuse(({ Image }) => photo.equals(Image.Bytes ?? Buffer.alloc(0)), 2)
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 1 })
      expect(asked).toHaveLength(4)
    })

    it('is not asked again what it has answered, nor about the original once it has refused that', async () => {
      const imageId = await system.submit(photo)
      await refuse((call) => byReference(call) && call.name === 'DetectLabelsCommand')
      const { faces } = system.worker.limiters
      const facesAfter = (labels: (call: Asked) => boolean): void => {
        system.worker.limiters.faces = {
          rate: faces.rate,
          run: async (...turn) => {
            const isAsked = () => asked.some((call) => call.name === 'DetectLabelsCommand' && labels(call))
            await until('the labels are asked for', async () => isAsked() || undefined)
            return faces.run(...turn)
          },
        }
      }
      facesAfter((call) => !byReference(call))
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(asked.map((call) => [call.name, byReference(call)])).toEqual([
        ['DetectLabelsCommand', true],
        ['DetectLabelsCommand', false],
        ['DetectFacesCommand', false],
      ])
      const other = await system.submit(await distinct(3))
      await refuse((call) => byReference(call) && call.name === 'DetectFacesCommand')
      facesAfter(byReference)
      expect(await failedIds(run(eventOf(other)))).toEqual([])
      expect(asked.map((call) => [call.name, byReference(call)]).sort()).toEqual([
        ['DetectFacesCommand', false],
        ['DetectFacesCommand', true],
        ['DetectLabelsCommand', true],
      ])
    })

    it('and the JPEG of it has spoken a verdict, after two calls of each analysis', async () => {
      const imageId = await submitAll(photo)
      await refuse(() => true, 4)
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({
        ...{ status: 'failed', attempts: 1, failure: { code: 'ANALYSIS_REFUSED' } },
      })
      expect(asked).toHaveLength(8)
    })

    it('and a JPEG that was sent in its place, has spoken a verdict at once', async () => {
      const imageId = await system.submit(await sharp(photo).webp({ effort: 0 }).toBuffer())
      await refuse(() => true)
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({ failure: { code: 'ANALYSIS_REFUSED' } })
      expect(asked).toHaveLength(2)
    })

    it('which is gone before it could be read again is missing', async () => {
      system.worker.preview = false
      const imageId = await system.submit(photo)
      await refuse(byReference, 2)
      const note = watch.before
      watch.before = async (name, input) => {
        if (name === 'DetectLabelsCommand')
          await system.worker.s3.send(
            new DeleteObjectCommand({ Bucket: system.names.bucket, Key: `originals/${imageId}` }),
          )
        return note(name, input)
      }
      expect(await failedIds(run(eventOf(imageId)))).toEqual([])
      expect(await system.record(imageId)).toMatchObject({ failure: { code: 'ORIGINAL_MISSING' } })
    })
  })
  it('that cannot read an object which is there has met a wrong set-up, not a bad image', async () => {
    const imageId = await system.submit(photo)
    const { InvalidS3ObjectException } = await import('@aws-sdk/client-rekognition')
    watch.before = (command) => {
      if (command === 'DetectLabelsCommand')
        throw new InvalidS3ObjectException({ message: 'no', $metadata: {} })
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    expect(system.trouble[0]).toContain('is the bucket in its region')
  })
})

describe('throttling', () => {
  const throttle = async (operation: string) => {
    const { ProvisionedThroughputExceededException } = await import('@aws-sdk/client-rekognition')
    // Faces only when there are labels: the answer that was paid for is not overtaken by the end of the time.
    const labels = new Promise<void>((answered) => {
      watch.after = (command) => {
        if (command === 'DetectLabelsCommand') answered()
      }
    })
    watch.before = async (command) => {
      if (command !== operation) return
      if (command === 'DetectFacesCommand') await labels
      throw new ProvisionedThroughputExceededException({ message: 'slow down', $metadata: {} })
    }
  }
  it('postpones a job, which stays the same message, and counts no failure, however often it comes', async () => {
    const imageId = await system.submit(photo)
    const batch = await system.receiveJobs()
    const [record] = batch.Records
    await throttle('DetectFacesCommand')
    system.worker.maxAttempts = 2
    ownTime(system)
    for (let time = 0; time < 4; time += 1) {
      expect(await failedIds(run(batch, SHORT))).toEqual([record?.messageId])
    }
    expect(waits).toHaveLength(4)
    expect(count('SendMessageCommand')).toBe(1)
    expect(system.trouble).toEqual([])
    expect((await system.record(imageId)).status).toBe('processing')
    watch.before = () => {}
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 5 })
  })
  it('keeps what was paid for, and has DynamoDB answer a record where it is used only', async () => {
    const imageId = await system.submit(photo)
    await throttle('DetectFacesCommand')
    ownTime(system)
    const throttled = watch.before
    let isThrottled = true
    const read: unknown[] = []
    watch.before = async (command, input) => {
      if (command === 'UpdateItemCommand') read.push(input['ReturnValues'])
      if (isThrottled) await throttled(command, input)
    }
    await run(eventOf(imageId), SHORT)
    isThrottled = false
    await run(eventOf(imageId))
    expect([count('DetectLabelsCommand'), count('DetectFacesCommand')]).toEqual([1, 1])
    expect((await system.record(imageId)).rekognitionLabels?.length).toBeGreaterThan(0)
    expect(await system.item(imageId)).not.toHaveProperty('kept')
    // Claim and release; then claim, commit and announcement; and the ledger each time.
    expect(read).toEqual(['ALL_NEW', 'NONE', 'NONE', 'ALL_NEW', 'ALL_NEW', 'NONE', 'NONE'])
  })
  it('has nothing fetched or stored twice, but for a preview that is wanted by now', async () => {
    const [imageId, other] = [await system.submit(photo), await system.submit(await distinct(1))]
    const both = eventOf(imageId, other)
    const objects = () => [count('GetObjectCommand'), count('PutObjectCommand')]
    const submitted = objects()
    await throttle('DetectFacesCommand')
    ownTime(system)
    system.worker.preview = false
    await run(both, SHORT)
    const { stored } = (await system.item(imageId))['kept'] as { stored: Record<string, object> }
    const metadata = { make: 'Nikon', gps: { latitude: 1, longitude: 2 } }
    await system.setItem(imageId, { kept: { stored: { ...stored, metadata } } })
    expect(objects()).toEqual([2, 2].map((times, at) => times + (submitted[at] ?? 0)))
    watch.before = () => {}
    // The position was read before this was set.
    system.worker.stripGps = true
    await run(eventOf(imageId))
    expect(objects()).toEqual([2, 2].map((times, at) => times + (submitted[at] ?? 0)))
    const { original, thumbnail, ...record } = await system.record(imageId)
    expect({ original, thumbnail }).toEqual({ original: stored['original'], thumbnail: stored['thumbnail'] })
    expect(record).toMatchObject({ status: 'completed', metadata: { make: 'Nikon' } })
    expect(record).not.toHaveProperty('metadata.gps')
    system.worker.preview = true
    await run(eventOf(other))
    expect(await system.record(other)).toHaveProperty('preview')
    expect(objects()).toEqual([3, 4].map((times, at) => times + (submitted[at] ?? 0)))
  })
  it.each([
    ['has Rekognition read the preview where it does not take the original, which is fetched once', photo, 1],
    ['fetches a strip again, whose preview Rekognition does not take', STRIP, 2],
  ])('%s', async (_name, picture, times) => {
    const imageId = await system.submit(await sharp(picture).webp({ effort: 0 }).toBuffer())
    await throttle('DetectFacesCommand')
    ownTime(system)
    await run(eventOf(imageId), SHORT)
    let read: { S3Object?: object } = {}
    watch.before = (command, { Image }) => {
      if (command === 'DetectFacesCommand') read = Image as object
    }
    await run(eventOf(imageId))
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 2 })
    expect(count('GetObjectCommand')).toBe(times)
    expect(read.S3Object).toEqual(
      times === 1 ? { Bucket: system.names.bucket, Name: `previews/${imageId}.jpg` } : undefined,
    )
  })
  it('of twins in one batch postpones both', async () => {
    const imageId = await system.submit(photo)
    await throttle('DetectLabelsCommand')
    ownTime(system)
    expect(await failedIds(run(eventOf(imageId, imageId), SHORT))).toEqual(['message-0', 'message-1'])
    expect(await system.item(imageId)).toMatchObject({ attempts: 1 })
  })
  it('has a job wait longer with each receive, and a copy of one that has waited for long no less', async () => {
    await throttle('DetectLabelsCommand')
    ownTime(system)
    for (const [receives, throttled, least, most] of [
      [1, 0, 1, 2],
      [20, 0, 30, 60],
      [100, 0, 125, 251],
      [999, 0, 1_800, 3_600],
      [1, 99, 119, 251],
    ] as const) {
      const imageId = await system.submit(photo)
      await system.setItem(imageId, { attempts: throttled, throttled })
      const event = eventOf(imageId)
      Object.assign(event.Records[0]?.attributes ?? {}, { ApproximateReceiveCount: String(receives) })
      expect(await failedIds(run(event, SHORT))).toEqual(['message-0'])
      const wait = waits.at(-1) ?? 0
      expect(wait).toBeGreaterThanOrEqual(least)
      expect(wait).toBeLessThanOrEqual(most)
      // The sweeper does not send another job while this one is known to wait.
      const due = Number((await system.item(imageId))['dueAt'])
      expect(due - Date.now()).toBeGreaterThan(wait * 1_000 + system.worker.sweepAfterMs - 60_000)
    }
    expect(waits).toHaveLength(5)
  })
  it('whose postponement fails leaves the job where it is, until its visibility timeout is over', async () => {
    const imageId = await system.submit(photo)
    await throttle('DetectLabelsCommand')
    const throttled = watch.before
    watch.before = (command, input) => {
      if (command === 'ChangeMessageVisibilityCommand') throw new Error('SQS is away')
      return throttled(command, input)
    }
    ownTime(system)
    expect(await failedIds(run(eventOf(imageId), SHORT))).toEqual(['message-0'])
  })
  it('that is over soon is waited out on the spot', async () => {
    const imageId = await system.submit(photo)
    let refused = 0
    await throttle('DetectLabelsCommand')
    const throttled = watch.before
    watch.before = (command, input) => {
      if (command === 'DetectLabelsCommand') refused += 1
      return refused < 3 ? throttled(command, input) : undefined
    }
    ownTime(system)
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.record(imageId)).toMatchObject({ status: 'completed', attempts: 1 })
    expect(count('SendMessageCommand')).toBe(1)
  })
})

describe('results that no item of DynamoDB holds', () => {
  const Instances = Array.from({ length: 5 }, () => ({
    BoundingBox: { Left: 0.123456789, Top: 0.123456789, Width: 0.123456789, Height: 0.123456789 },
    Confidence: 98.76543210987,
  }))
  const Labels = Array.from({ length: 1_000 }, (_, index) => ({
    ...{ Name: `Label ${index}`, Confidence: 99.5 - index / 100, Instances, Parents: [{ Name: 'Parent' }] },
  }))
  it('are stored as an object, marked, and shown whole; the event is as ever; a deletion removes them', async () => {
    const imageId = await system.submit(photo)
    watch.after = (command, output) => {
      if (command === 'DetectLabelsCommand') Object.assign(output, { Labels })
    }
    watch.before = (command) => {
      if (command === 'DetectFacesCommand') throw new Error('Rekognition is away')
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    expect(Object.keys((await system.item(imageId))['kept'] as object)).toEqual(['stored'])
    watch.before = () => {}
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(count('GetObjectCommand')).toBe(1)
    const stored = await system.item(imageId)
    expect(stored['analysis']).toMatchObject({ key: `analyses/${imageId}.json` })
    expect(JSON.stringify(stored).length).toBeLessThan(300_000)
    const record = await system.record(imageId)
    expect(record).toMatchObject({ status: 'completed', analysis: stored['analysis'] })
    expect(record.rekognitionLabels).toEqual(Labels)
    const [event] = await system.events()
    expect(event?.labels?.slice(0, 2)).toEqual(['Label 0', 'Label 1'])
    expect((await system.app.request(`/images/${imageId}`, { method: 'DELETE' })).status).toBe(204)
    expect(await objects()).toEqual([])
  })
  it('are not kept for the next attempt, by their bytes, of which a character may have three', async () => {
    const imageId = await system.submit(photo)
    watch.after = (command, output) => {
      const long = Labels.map((label) => ({ ...label, Name: '犬'.repeat(200), Instances: [] }))
      if (command === 'DetectLabelsCommand') Object.assign(output, { Labels: long })
    }
    watch.before = (command) => {
      if (command === 'DetectFacesCommand') throw new Error('Rekognition is away')
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual(['message-0'])
    const item = await system.item(imageId)
    expect(item).toMatchObject({ leaseUntil: 0, paidCalls: { labels: 1 } })
    expect(Object.keys(item['kept'] as object)).toEqual(['stored'])
  })
  it('stay in the record where it has room for them', async () => {
    const imageId = await system.submit(photo)
    watch.after = (command, output) => {
      if (command === 'DetectLabelsCommand') Object.assign(output, { Labels: Labels.slice(0, 250) })
    }
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    expect(await system.item(imageId)).not.toHaveProperty('analysis')
    expect((await system.record(imageId)).rekognitionLabels).toEqual(Labels.slice(0, 250))
  })
})
