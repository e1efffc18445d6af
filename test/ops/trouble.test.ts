import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { NotFound } from '@aws-sdk/client-s3'
import { SendMessageCommand } from '@aws-sdk/client-sqs'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { explain } from '../../ops/trouble.ts'
import { clientOptions } from '../../shared/aws.ts'
import type { ProcessingImage } from '../../shared/image.ts'
import { processBatch } from '../../worker/batch.ts'
import { demandOriginal } from '../../worker/original.ts'
import { lambdaContext, startTestSystem, type TestSystem } from '../context.ts'
import { distinct } from '../pictures/pictures.ts'
import { operatorOf } from './operator.ts'

let system: TestSystem
beforeAll(async () => {
  system = await startTestSystem()
})
afterAll(() => system?.stop())
const { ops, behind } = operatorOf(() => system)

const errorOf = (event: string) => system.lines.findLast((line) => line['event'] === event)?.['error']

describe('what AWS refuses', () => {
  it.each<[string, object, string]>([
    ['bucket', { bucket: 'gone-bucket' }, 'The specified bucket does not exist (S3 GetObject gone-bucket)'],
    ['table', { table: 'gone-table' }, 'Requested resource not found (DynamoDB UpdateItem gone-table)'],
  ])('names the %s and the call in the log', async (_, over, message) => {
    await system.submit(await distinct(1))
    await processBatch({ ...system.worker, ...over }, await system.receiveJobs(), lambdaContext())
    expect(errorOf('attempt failed')).toMatchObject({ message })
  })

  it('names an event bus that may not be used, and the event goes when it may', async () => {
    const imageId = await system.submit(await distinct(3))
    const batch = await system.receiveJobs()
    const refuse = async () =>
      Response.json({ __type: 'AccessDeniedException', message: 'No.' }, { status: 400 })
    await behind(refuse, async (endpoint) => {
      const target = {
        endpoint,
        region: 'us-east-1',
        credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
      }
      const eventBridge = new EventBridgeClient(clientOptions(target))
      await processBatch({ ...system.worker, eventBridge, eventBus: 'anothr' }, batch, lambdaContext())
      eventBridge.destroy()
    })
    expect(errorOf('not announced')).toMatchObject({ message: 'No (EventBridge PutEvents anothr)' })
    const { announced, status } = await system.item(imageId)
    expect([announced, status]).toEqual([undefined, 'completed'])
    await processBatch(system.worker, batch, lambdaContext())
    expect(await system.item(imageId)).toMatchObject({ announced: 1 })
  })

  it('names the call in the record of an image that is given up', async () => {
    const imageId = await system.submit(await distinct(2))
    const bucket = 'gone-bucket'
    const batch = await system.receiveJobs()
    await processBatch({ ...system.worker, bucket, maxAttempts: 1 }, batch, lambdaContext())
    expect(await system.item(imageId)).toMatchObject({
      trouble: { name: 'NoSuchBucket', message: expect.stringContaining('(S3 GetObject gone-bucket)') },
    })
  })

  it('names the queue to which a message that is no job could not go', async () => {
    const { sqs, jobQueueUrl, deadLetterQueueUrl: url } = system.worker
    await sqs.send(new SendMessageCommand({ QueueUrl: jobQueueUrl, MessageBody: 'no job' }))
    const batch = await system.receiveJobs()
    for (const { attributes } of batch.Records) attributes.ApproximateReceiveCount = '3'
    const worker = { ...system.worker, deadLetterQueueUrl: `${url}-gone` }
    const { batchItemFailures } = await processBatch(worker, batch, lambdaContext())
    const message = expect.stringMatching(/\(SQS SendMessage .*-gone\)$/)
    expect(errorOf('no job')).toMatchObject({ message })
    expect(batchItemFailures).toHaveLength(1)
  })

  it('is no verdict on an image where the bucket is what is missing', async () => {
    const original = { bucket: 'another-bucket', key: 'originals/one' }
    const demanded = demandOriginal(system.worker, { original } as ProcessingImage)
    await expect(demanded).rejects.toBeInstanceOf(NotFound)
  })

  it('has what the SDK warns of said, such as credentials of two sources', async () => {
    const warned: string[] = []
    const note = ({ message }: Error) => void warned.push(message)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    expect(await ops(['failures'], { AWS_PROFILE: 'night' })).toMatchObject({ code: 2 })
    await expect.poll(() => warned.join()).toContain('Multiple credential sources')
  })

  it.each([
    ['ExpiredTokenException', /^Your AWS credentials have expired: get new ones, .*\(SQS GetQueueUrl\)\)\n$/],
    ['AccessDeniedException', /^AWS does not let you do this: No \(SQS GetQueueUrl\)\n$/],
  ])('an operator by %s is told in one sentence', async (type, said) => {
    const refuse = async () => Response.json({ __type: type, message: 'No.' }, { status: 403 })
    // What a profile may ask for, and only AWS has, is in the way of no answer.
    const { code, err } = await behind(refuse, (endpoint) =>
      ops(['failures'], { AWS_ENDPOINT_URL: endpoint, AWS_USE_FIPS_ENDPOINT: 'true' }),
    )
    expect([code, err]).toEqual([2, expect.stringMatching(said)])
  })
})

describe('a certificate that is not believed', () => {
  it.each(['DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY'])(
    'is told from what AWS says, and what to do: %s',
    (code) => {
      const why = Object.assign(new Error('self-signed certificate in certificate chain'), { code })
      const told =
        'AWS cannot be reached: self-signed certificate in certificate chain. Name the file of its issuer in NODE_EXTRA_CA_CERTS. AWS_ENDPOINT_URL and AWS_REGION say where.'
      expect(explain(why)).toBe(told)
      expect(explain(new TypeError('fetch failed', { cause: why }))).toBe(told)
    },
  )

  it.each(['CERT_HAS_EXPIRED', 'ERR_TLS_CERT_ALTNAME_INVALID'])('is no fault of this program: %s', (code) => {
    expect(explain(Object.assign(new Error('certificate has expired'), { code }))).toBe(
      'AWS cannot be reached: certificate has expired. AWS_ENDPOINT_URL and AWS_REGION say where.',
    )
  })
})
