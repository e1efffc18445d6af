import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { cliIsMissing, embeddedAws, region } from './started.ts'

const { aws, newBucket, newQueue, bodies, send, waiting } = embeddedAws()

describe.skipIf(cliIsMissing !== '')(`the AWS CLI${cliIsMissing}`, () => {
  const cli = async (...args: string[]) => {
    const { stdout } = await promisify(execFile)('aws', ['--endpoint-url', aws.endpoint, ...args], {
      env: {
        ...process.env,
        AWS_ACCESS_KEY_ID: 'x',
        AWS_SECRET_ACCESS_KEY: 'y',
        AWS_DEFAULT_REGION: region,
        AWS_DEFAULT_OUTPUT: 'json',
        AWS_PAGER: '',
      },
    })
    return stdout === '' ? undefined : JSON.parse(stdout)
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
