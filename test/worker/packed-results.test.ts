import { DynamoDBClient, GetItemCommand } from '@aws-sdk/client-dynamodb'
import { describe, expect, it } from 'vitest'
import { resourceNames } from '../../infrastructure/resources.ts'
import { clientOptions } from '../../shared/aws.ts'
import { until } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { startHere } from '../system.ts'
import {
  count,
  eachWithSystem,
  eventOf,
  failedIds,
  NOTHING,
  run,
  sweepLater,
  system,
  watch,
} from './worker-system.ts'

type Answer = Record<string, unknown>
const PICTURE = await distinct(1)

/** What an image has of Rekognition. */
const found = ({
  rekognitionLabels,
  rekognitionFaces,
  labelModelVersion,
  labels,
  faceCount,
  status,
}: Answer) => ({
  ...{ rekognitionLabels, rekognitionFaces, labelModelVersion, labels, faceCount, status },
})

describe('packed results', () => {
  eachWithSystem()

  const ask = async (owner: string, path: string, method = 'GET'): Promise<Answer> => {
    const answer = await system.app.request(path, { method, headers: { 'x-test-owner': owner } })
    return answer.status === 204 ? {} : ((await answer.json()) as Answer)
  }
  const analyse = async (owner: string): Promise<string> => {
    const imageId = await system.submit(PICTURE, { 'x-test-owner': owner })
    expect(await failedIds(run(eventOf(imageId)))).toEqual([])
    return imageId
  }

  it('are answered, found, sent and reused as others are', async () => {
    const plain = await analyse('ann')
    system.worker.packResults = true
    const imageId = await analyse('ben')
    const item = await system.item(imageId)
    expect(item).toMatchObject({ version: 2, packed: expect.any(Uint8Array) })
    expect(Object.keys(item)).not.toEqual(expect.arrayContaining([expect.stringMatching(/^rekognition/)]))
    expect(await system.item(plain)).toMatchObject({ version: 1, rekognitionLabels: expect.any(Array) })

    const answer = await ask('ben', `/images/${imageId}`)
    expect(answer['rekognitionLabels']).toContainEqual(expect.objectContaining({ Name: expect.any(String) }))
    expect(found(answer)).toEqual(found(await ask('ann', `/images/${plain}`)))
    expect(answer).not.toHaveProperty('packed')
    const labels = item['labels'] as string[]
    const listed = { items: [{ imageId, labels, labelModelVersion: answer['labelModelVersion'] }] }
    expect(await ask('ben', '/images')).toMatchObject(listed)
    expect(await ask('ben', `/images?label=${encodeURIComponent(labels[0] ?? '')}`)).toMatchObject(listed)
    const sent = (await system.events()).map((event) => [event.imageId, found(event)])
    expect(sent).toEqual([
      [plain, sent[0]?.[1]],
      [imageId, sent[0]?.[1]],
    ])
    expect(sent[0]?.[1]).toMatchObject({ labels: expect.arrayContaining(labels), status: 'completed' })

    const again = found(await ask('ben', `/images/${await analyse('ben')}`))
    expect(again).toEqual(found(answer))
    expect(count('DetectLabelsCommand')).toBe(2)
  })

  it('are sent by the sweeper where the worker could not', async () => {
    system.worker.packResults = true
    watch.before = (name) => {
      if (name === 'PutEventsCommand') throw new Error('down')
    }
    const imageId = await system.submit(PICTURE)
    await run(eventOf(imageId))
    watch.before = () => {}
    expect(await sweepLater()).toEqual({ ...NOTHING, announced: 1 })
    const { labels } = await system.item(imageId)
    expect(await system.events()).toMatchObject([
      { imageId, labels: expect.arrayContaining(labels as string[]), rekognitionLabels: expect.any(Array) },
    ])
  })
})

it('PACK_RESULTS=on packs results in npm start', async () => {
  const { url, target } = await startHere({ PACK_RESULTS: 'on' })
  const posted = await fetch(`${url}/images`, {
    method: 'POST',
    headers: { 'content-type': 'image/png' },
    body: new Uint8Array(PICTURE),
  })
  const { imageId } = (await posted.json()) as { imageId: string }
  const answer = await until('the image is completed', async () => {
    const image = (await (await fetch(`${url}/images/${imageId}`)).json()) as Answer
    return image['status'] === 'completed' ? image : undefined
  })
  expect(answer['rekognitionLabels']).not.toEqual([])
  const dynamo = new DynamoDBClient(clientOptions(target))
  const { Item } = await dynamo.send(
    new GetItemCommand({ TableName: resourceNames().table, Key: { imageId: { S: imageId } } }),
  )
  dynamo.destroy()
  expect(Item).toMatchObject({ version: { N: '2' }, packed: { B: expect.any(Uint8Array) } })
})
