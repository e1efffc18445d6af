import { describe, expect, it } from 'vitest'
import { awsCli, noCli } from '../../../test/aws-cli.ts'
import { skipped } from '../../../test/tools.ts'
import { embeddedAws } from './started.ts'

const { aws, newBucket, newQueue, bodies, send, waiting } = embeddedAws()

describe.skipIf(noCli.length > 0)(`the AWS CLI${skipped(noCli)}`, () => {
  const run = awsCli()
  const cli = async (...args: string[]) => {
    const printed = await run('--endpoint-url', aws.endpoint, ...args)
    return printed === '' ? undefined : JSON.parse(printed)
  }

  it('redrives dead letters', async () => {
    const dead = await newQueue()
    const policy = { deadLetterTargetArn: dead.arn, maxReceiveCount: 1 }
    const source = await newQueue({ RedrivePolicy: JSON.stringify(policy) })
    await send(dead, 'hello')
    const { TaskHandle } = await cli('sqs', 'start-message-move-task', '--source-arn', dead.arn)
    expect(TaskHandle).toEqual(expect.any(String))
    await expect.poll(() => waiting(source)).toBe(1)
    const { Results } = await cli('sqs', 'list-message-move-tasks', '--source-arn', dead.arn)
    expect(Results).toMatchObject([{ Status: 'COMPLETED', ApproximateNumberOfMessagesMoved: 1 }])
    await expect(cli('sqs', 'start-message-move-task', '--source-arn', source.arn)).rejects.toThrow(
      /\(InvalidParameterValue\).*Source queue must be configured as a Dead Letter Queue\./,
    )
  })

  it('configures CORS and notifications', async () => {
    const [bucket, queue] = [await newBucket(), await newQueue()]
    const cors = { CORSRules: [{ AllowedMethods: ['GET'], AllowedOrigins: ['*'], MaxAgeSeconds: 3 }] }
    const ofBucket = ['--bucket', bucket]
    await cli('s3api', 'put-bucket-cors', ...ofBucket, '--cors-configuration', JSON.stringify(cors))
    expect(await cli('s3api', 'get-bucket-cors', ...ofBucket)).toEqual(cors)

    const QueueConfigurations = [{ Id: '1', QueueArn: queue.arn, Events: ['s3:ObjectCreated:*'] }]
    const wanted = JSON.stringify({ QueueConfigurations })
    const notify = 'put-bucket-notification-configuration'
    await cli('s3api', notify, ...ofBucket, '--notification-configuration', wanted)
    expect(await cli('s3api', 'get-bucket-notification-configuration', ...ofBucket)).toEqual({
      QueueConfigurations,
    })
    expect(await bodies(queue)).toEqual([expect.stringContaining('s3:TestEvent')])
  })
})
